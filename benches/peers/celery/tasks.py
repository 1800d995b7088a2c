"""The Celery application that load.py and its workers share: one task that does nothing.

Its documents' settings for many short tasks: a large prefetch, no results kept. acks_late, since a task that is
acknowledged before it runs is lost with its worker.
"""

import os

import celery

app = celery.Celery("tasks", broker=os.environ["CELERY_BROKER"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=64,
    broker_connection_retry_on_startup=True,
)


@app.task
def pdf(**_payload):
    """The handler."""
