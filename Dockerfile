# One image for the web process and the worker; compose.yaml says which command each runs.
FROM python:3.13-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/data

# Nobody in here is root. Database and uploads live in /data, which both services share.
RUN useradd --system --uid 10001 --create-home app && install --directory --owner=app --group=app /data

WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt

COPY manage.py celery_worker.py ./
COPY project project
COPY progress progress
COPY tasks tasks
COPY templates templates
COPY locale locale

USER app
VOLUME /data
EXPOSE 8000
CMD ["daphne", "--websocket_connect_timeout", "60", "-e", "tcp:port=8000:interface=0.0.0.0:backlog=4096", "project.asgi:application"]
