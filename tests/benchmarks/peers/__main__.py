"""python -m tests.benchmarks.peers NAME queue|latency|work: drive one peer, and print its figures as JSON."""

import argparse
import asyncio
import importlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.driver import Driver, Peer
from tests.benchmarks.peers.tally import Tally

_SLOTS = 2_000_000


def main() -> None:
    """Do one piece of work."""
    wanted = _arguments()
    logging.disable(logging.WARNING)
    peer: Peer = importlib.import_module(f"tests.benchmarks.peers.{wanted.name}").PEER
    if wanted.work == "work":
        assert peer.work is not None, f"{wanted.name} has a worker command of its own"
        peer.work()
        return
    tally = Tally(Path(os.environ["BENCH_TALLY"]), _SLOTS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        figures = runner.run(_drive(peer, tally, wanted))
    sys.stdout.write("\n" + json.dumps(figures) + "\n")


async def _drive(peer: Peer, tally: Tally, wanted: argparse.Namespace) -> dict[str, float]:
    driver = Driver(peer, tally)
    await peer.open()
    try:
        if wanted.work == "queue":
            return await driver.queue(wanted.count)
        return await driver.latency(wanted.count, wanted.seconds)
    finally:
        await peer.close()


def _loop_factory() -> Any:
    """Return uvloop's loop where the environment has it."""
    try:
        import uvloop  # noqa: PLC0415 - not every peer can use it
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("work", choices=["queue", "latency", "work"])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1)
    return parser.parse_args()


main()
