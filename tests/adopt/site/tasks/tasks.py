import time

from celery import shared_task

import progress


@shared_task
@progress.options(title="Export {name}", unit="rows")
def export(name, rows=20, pause=0.0):
    for _ in progress.track(range(rows)):
        if pause:
            time.sleep(pause)
    return f"{rows} rows"


@shared_task
def notify(text):
    return text.upper()
