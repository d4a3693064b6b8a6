"""RQ on Redis: SimpleWorker, which does not fork for each job; results are not kept."""

# mypy: ignore-errors
# the peer is installed only in the environment in which this runs

import os

import redis
from rq import Queue, SimpleWorker

from tests.benchmarks.peers.driver import Peer, own_worker
from tests.benchmarks.peers.tally import open_tally

queue = Queue(connection=redis.Redis.from_url(os.environ["BENCH_REDIS"]))
tally = None


def noop(number):
    tally.mark(number)


def submit(number):
    queue.enqueue("tests.benchmarks.peers.rq_redis.noop", number, result_ttl=0)


def work():
    global tally  # noqa: PLW0603 - opened once for each worker
    tally = open_tally()
    SimpleWorker([queue], connection=queue.connection).work(logging_level="ERROR")


def workers(processes):
    return [own_worker("rq_redis")] * processes


PEER = Peer(submit=submit, workers=workers, work=work)
