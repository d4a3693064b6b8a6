"""Huey on SQLite with fsync: threads as many as asked for, results not kept, polling every 10 ms (default: 100)."""

# mypy: ignore-errors
# the peer is installed only in the environment in which this runs

import os
from pathlib import Path

from huey import SqliteHuey

from tests.benchmarks.peers.driver import Peer, own_worker
from tests.benchmarks.peers.tally import open_tally

_POLL_S = 0.01
_PROCESSES = "BENCH_HUEY_WORKERS"

huey = SqliteHuey(filename=str(Path(os.environ["BENCH_FOLDER"]) / "huey.db"), fsync=True, results=False)
tally = None


@huey.task()
def noop(number):
    tally.mark(number)


def work():
    global tally  # noqa: PLW0603 - opened once for each worker
    tally = open_tally()
    huey.create_consumer(
        workers=int(os.environ[_PROCESSES]), periodic=False, initial_delay=_POLL_S, backoff=1, max_delay=_POLL_S
    ).run()


def workers(processes):
    os.environ[_PROCESSES] = str(processes)
    return [own_worker("huey_sqlite")]


PEER = Peer(submit=noop, workers=workers, work=work)
