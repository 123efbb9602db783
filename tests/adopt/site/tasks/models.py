from django.conf import settings
from django.db import models


class Task(models.Model):
    """A to-do of the shop's people. It has nothing to do with Celery."""

    title = models.CharField(max_length=100)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    done = models.BooleanField(default=False)

    def __str__(self):
        return self.title
