"""taskiq on Redis: the list broker (its fastest, without acknowledgement), 16 at a time in each process, uvloop."""

# mypy: ignore-errors
# the peer is installed only in the environment in which this runs

import os
import sys

from taskiq_redis import ListQueueBroker

from tests.benchmarks.peers.driver import Peer
from tests.benchmarks.peers.tally import open_tally

broker = ListQueueBroker(os.environ["BENCH_REDIS"])
tally = None


@broker.task(task_name="noop")
async def noop(number: int) -> None:
    global tally  # noqa: PLW0603 - opened once for each worker process
    tally = tally or open_tally()
    tally.mark(number)


async def submit(number):
    await noop.kiq(number)


def workers(processes):
    return [
        [
            *(sys.executable, "-m", "taskiq", "worker", "tests.benchmarks.peers.taskiq_redis_list:broker"),
            *("--workers", str(processes), "--max-async-tasks", os.environ["BENCH_CONCURRENCY"]),
            *("--max-prefetch", os.environ["BENCH_CONCURRENCY"], "--log-level", "ERROR"),
        ]
    ]


PEER = Peer(submit=submit, workers=workers, open=broker.startup, close=broker.shutdown)
