"""/livez and /readyz: is the process alive, and could it take a job now?"""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from service.errors import FilemillError
from service.runtime import Runtime
from service.web.requests import Service

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Each check by name: `ok`, or what is wrong."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str] = Field(examples=[{"database": "ok", "storage": "ok", "workers": "ok"}])


@router.get("/livez")
async def live() -> Alive:
    """Say that the process answers."""
    return Alive()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "it could not take a job now"}})
async def ready(response: Response, service: Service) -> Readiness:
    """Try what a submission needs: a database that can be written, a disk with room, workers at work."""
    checks = {
        "database": await _check_database(service),
        "storage": await _check_storage(service),
        "workers": "ok" if service.pool.is_alive else "not running",
    }
    if all(found == "ok" for found in checks.values()):
        return Readiness(status="ok", checks=checks)
    response.status_code = 503
    return Readiness(status="unavailable", checks=checks)


async def _check_storage(service: Runtime) -> str:
    try:
        await service.storage.check()
    except FilemillError as error:
        return f"{error.code}: {error.detail}"
    return "ok"


async def _check_database(service: Runtime) -> str:
    try:
        await service.jobs.check()
    except FilemillError as error:
        return f"{error.code}: {error.detail}"
    return "ok"
