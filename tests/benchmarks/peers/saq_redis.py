"""SAQ on Redis: 16 at a time in each process, on uvloop, with hiredis; finished jobs are not kept."""

# mypy: ignore-errors
# the peer is installed only in the environment in which this runs

import asyncio
import os

import uvloop
from saq import Queue, Worker

from tests.benchmarks.peers.driver import SUBMITTERS, Peer, own_worker
from tests.benchmarks.peers.tally import open_tally

queue = Queue.from_url(os.environ["BENCH_REDIS"], max_concurrent_ops=SUBMITTERS + 4)
tally = None


async def noop(ctx, *, number):  # noqa: ARG001 - SAQ passes the context
    tally.mark(number)


async def submit(number):
    await queue.enqueue("noop", number=number, ttl=-1)


def work():
    global tally  # noqa: PLW0603 - opened once for each worker
    tally = open_tally()
    concurrency = int(os.environ["BENCH_CONCURRENCY"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Worker(queue, functions=[noop], concurrency=concurrency).start())


def workers(processes):
    return [own_worker("saq_redis")] * processes


PEER = Peer(submit=submit, workers=workers, work=work, open=queue.connect, close=queue.disconnect)
