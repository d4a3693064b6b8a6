"""/livez and /readyz: is the process alive, and could it take a job now?"""

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from service.errors import FilemillError, NotWorkingError
from service.runtime import Runtime
from service.web.problems import problem_responses
from service.web.requests import Service

router = APIRouter(tags=["health"])

FRESH_S = 1.0
PATIENCE_S = 1.5


class Alive(BaseModel):
    """The process answers, and can do its duty."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Each check by name: `ok`, or what is wrong."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str] = Field(examples=[{"database": "ok", "storage": "ok", "workers": "ok"}])


class Trials:
    """Tries the database and the disk, at most once in `FRESH_S` seconds however many ask."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._found: dict[str, str] = {}
        self._good_until_s = 0.0

    async def find(self, service: Runtime) -> dict[str, str]:
        """Return what the trials came to: `ok`, or what is wrong."""
        async with self._lock:
            if not self._found or service.clock.monotonic() >= self._good_until_s:
                database, storage = await asyncio.gather(_try(service.jobs.check()), _try(service.storage.check()))
                self._found = {"database": database, "storage": storage}
                self._good_until_s = service.clock.monotonic() + FRESH_S
            return self._found


async def _trials_of(request: Request) -> Trials:
    trials: Trials = request.app.state.trials
    return trials


@router.get("/livez", responses=problem_responses(NotWorkingError))
async def live(service: Service) -> Alive:
    """Say that the process answers, and that there is somebody in it to run jobs, or will be in a moment."""
    if not service.is_able:
        raise NotWorkingError(
            "consumers, the writer of the database or another duty have ended, and cannot be begun anew"
        )
    return Alive()


@router.get(
    "/readyz",
    responses={**problem_responses(), 503: {"model": Readiness, "description": "it could not take a job now"}},
)
async def ready(response: Response, service: Service, trials: Annotated[Trials, Depends(_trials_of)]) -> Readiness:
    """Try what a submission needs: a database that can be written, a disk with room, workers at work.

    The database and the disk are tried at most once a second; a trial that takes longer than 1.5 s has failed.
    """
    checks = {**await trials.find(service), "workers": _workers(service)}
    if all(found == "ok" for found in checks.values()):
        return Readiness(status="ok", checks=checks)
    response.status_code = 503
    return Readiness(status="unavailable", checks=checks)


def _workers(service: Runtime) -> str:
    if service.pool.is_stopping:
        return "not running"
    missing = [f"{count} consumers of {lane} are missing" for lane, count in service.pool.missing().items()]
    return ", ".join([*missing, *(f"{duty} has ended" for duty in service.lost_duties())]) or "ok"


async def _try(trial: Awaitable[None]) -> str:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await trial
    except FilemillError as error:
        return f"{error.code}: {error.detail}"
    except TimeoutError:
        return f"no answer within {PATIENCE_S:g} s"
    return "ok"
