"""Celery on Redis: prefork, results ignored, 128 fetched ahead, no gossip, no mingling, no events."""

# mypy: ignore-errors
# the peer is installed only in the environment in which this runs

import os
import sys

from celery import Celery

from tests.benchmarks.peers.driver import Peer
from tests.benchmarks.peers.tally import open_tally

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=128,
    broker_connection_retry_on_startup=True,
    worker_send_task_events=False,
)
tally = None


@app.task(name="noop")
def noop(number):
    global tally  # noqa: PLW0603 - opened once for each worker process
    tally = tally or open_tally()
    tally.mark(number)


def submit(number):
    noop.delay(number)


def workers(processes):
    return [
        [
            *(sys.executable, "-m", "celery", "--app", "tests.benchmarks.peers.celery_redis", "worker"),
            *("--concurrency", str(processes), "--loglevel", "ERROR"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
    ]


PEER = Peer(submit=submit, workers=workers)
