"""Procrastinate on PostgreSQL, durable as it comes: 16 at a time in each process, woken by LISTEN/NOTIFY."""

# mypy: ignore-errors
# the peer is installed only in the environment in which this runs

import asyncio
import os

import procrastinate
import uvloop

from tests.benchmarks.peers.driver import SUBMITTERS, Peer, own_worker
from tests.benchmarks.peers.tally import open_tally

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(
        conninfo=os.environ["BENCH_POSTGRES"], min_size=SUBMITTERS, max_size=SUBMITTERS + 4
    )
)
tally = None


@app.task(name="noop")
async def noop(number):
    tally.mark(number)


async def submit(number):
    await noop.defer_async(number=number)


async def opened():
    await app.open_async()
    await app.schema_manager.apply_schema_async()


async def serve():
    async with app.open_async():
        await app.run_worker_async(concurrency=int(os.environ["BENCH_CONCURRENCY"]), listen_notify=True)


def work():
    global tally  # noqa: PLW0603 - opened once for each worker
    tally = open_tally()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def workers(processes):
    return [own_worker("procrastinate_postgres")] * processes


PEER = Peer(submit=submit, workers=workers, work=work, open=opened, close=app.close_async)
