"""Clients of every kind, and a server that is killed at any moment, also before it has come up."""

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.acceptance.invariants import find_faults, processes_of, rows
from tests.acceptance.server import Server, run_server
from tests.chaos.workload import Client, Promises, SurpriseError

CLIENTS = 6
KILLS_A_ROUND = 25
PAUSE_S = 0.05
LIFE_S = 3.0
START_S = 1.0
JOIN_S = 120
DRAIN_S = 180


@dataclass
class Round:
    """One data folder: what was done to it, and what was found wrong."""

    seed: str
    kills: int = 0
    jobs: int = 0
    requests_cut: int = 0
    rescued: int = 0
    wrong: list[str] = field(default_factory=list)


class Crowd:
    """Clients that go on whatever happens to the server."""

    def __init__(self, server: Server, seed: str) -> None:
        self.promises = Promises()
        self.surprises: list[str] = []
        self.cut = 0
        self._server = server
        self._up, self._over = threading.Event(), threading.Event()
        # daemons: a run that is given up must not wait for them
        self._threads = [
            threading.Thread(target=self._live, args=[random.Random(f"{seed}/{number}")], daemon=True)
            for number in range(CLIENTS)
        ]

    def begin(self) -> None:
        self._up.set()
        for thread in self._threads:
            thread.start()

    def told(self, *, up: bool) -> None:
        """Tell the clients whether there is a server."""
        if up:
            self._up.set()
        else:
            self._up.clear()

    def end(self) -> None:
        self._over.set()
        self._up.set()
        for thread in self._threads:
            thread.join(JOIN_S)
            assert not thread.is_alive(), "a client got no answer"

    def _live(self, rng: random.Random) -> None:
        while not self._over.wait(rng.uniform(0, PAUSE_S)):
            self._up.wait(1)
            client = Client(self._server.url, self.promises, rng)
            try:
                with client.http:
                    while not self._over.is_set():
                        client.do_any()
            except httpx.TransportError:
                self.cut += 1
            except SurpriseError as surprise:
                self.surprises.append(str(surprise))


def kill_round(folder: Path, seed: str, kills: int = KILLS_A_ROUND) -> Round:
    """Kill a server so many times under load, and look at what is left."""
    done = Round(seed)
    with run_server(folder / "data") as server:
        crowd = Crowd(server, seed)
        crowd.begin()
        pids = _kill_all(crowd, server, random.Random(seed), kills)
        crowd.end()
        promised = crowd.promises
        done.kills, done.jobs, done.requests_cut = len(pids) - 1, len(promised.accepted), crowd.cut
        done.wrong += [f"surprise: {one}" for one in crowd.surprises]
        done.wrong += find_faults(server.url, server.data_dir, promised.kept, DRAIN_S, deleted=promised.deleted)
        done.rescued = len(rows(server.data_dir, "SELECT 1 FROM events WHERE data ->> 'reason' = 'rescue'"))
        if server.stop():
            done.wrong.append("it did not stop cleanly")
        done.wrong += _remaining(server, pids)
    return done


def _kill_all(crowd: Crowd, server: Server, rng: random.Random, kills: int) -> list[int]:
    """Kill it at random moments, every fifth time once more on its way up; return the ids of all its processes."""
    pids = [server.pid]
    for number in range(kills):
        time.sleep(rng.uniform(0, LIFE_S))  # the moment is the point
        crowd.told(up=False)
        server.kill()
        if number % 5 == 4:
            server.spawn()
            pids.append(server.pid)
            time.sleep(rng.uniform(0, START_S))
            server.kill()
        server.start()
        pids.append(server.pid)
        crowd.told(up=True)
    return pids


def _remaining(server: Server, pids: list[int]) -> list[str]:
    deadline = time.monotonic() + 10
    while (left := processes_of(server.data_dir, pids)) and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
    return left
