"""A server that is paused in the middle of its jobs."""

import asyncio
import time

from service.testing import open_app
from tests.acceptance import ruthless_processors

LIMIT_S, PAUSE_S = 3600.0, 10_000.0
PATIENCE_S = 60


class Loop(asyncio.SelectorEventLoop):
    """A loop whose clock the test puts forward."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


async def on_disk(*paths):
    async with asyncio.timeout(PATIENCE_S):
        while not all([await asyncio.to_thread(path.exists) for path in paths]):
            await asyncio.sleep(0.01)


def wait_for_the_end(path):
    """Wait until the child has ended, while the loop cannot hear of it."""
    until = time.monotonic() + PATIENCE_S
    while path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


async def results(loop, folder):
    told, go = [folder / "told-1", folder / "told-2"], folder / "go"
    async with open_app(ruthless_processors.__file__) as app:
        jobs = [
            await app.submit(name, params={"told": str(path), "go": str(go)}, timeout_s=LIMIT_S, max_attempts=1)
            for name, path in zip(("ruthless.go", "ruthless.go_on_loop"), told, strict=True)
        ]
        await on_disk(*told)
        go.touch()
        wait_for_the_end(told[0])
        loop.ahead_s = PAUSE_S  # the limit of both is long past
        await app.drain(PAUSE_S + PATIENCE_S)
        return [(await app.get(job["links"]["self"])).json()["result"] for job in jobs]


def test_a_server_that_was_paused_counts_no_time_in_which_it_did_not_run(tmp_path):
    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert runner.run(results(loop, tmp_path)) == ["done", "done"]
