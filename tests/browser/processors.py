"""Processors for the browser tests: slow, failing, and hostile ones."""

import asyncio
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from service import Fail, JobContext, processor

HOSTILE = "<img src=x onerror=alert(1)>"
PAUSE_S = 0.1


class Margins(BaseModel):
    """Space around the page."""

    top: int = Field(10, ge=0, le=100, description="above")
    unit: Literal["mm", "pt"] = "mm"


@processor("demo.slow", min_files=0)
async def slow(job: JobContext, steps: Annotated[int, Field(ge=1, le=100_000)] = 600) -> int:
    """Count slowly, and say how far it is."""
    for step in range(steps):
        job.progress(step / steps, f"step {step} of {steps}")
        await asyncio.sleep(PAUSE_S)
    return steps


@processor("demo.hostile", min_files=0)
async def hostile(job: JobContext) -> dict[str, Any]:
    """Log and return what would break a careless page."""
    job.log(f"{HOSTILE} \x1b[31mred\x1b[0m \u202egnp.exe")
    job.log("x" * 1_000_000, tag="</script>")
    job.progress(0.5, HOSTILE)
    return {"markup": "</script><script>alert(1)</script>", HOSTILE: ["y" * 100_000]}


@processor("demo.fail", min_files=0, max_attempts=1)
def fail(_job: JobContext) -> None:
    """Fail, with a traceback."""
    raise RuntimeError(HOSTILE)


@processor("demo.refuse", min_files=0, max_attempts=1)
async def refuse(_job: JobContext) -> None:
    """Fail for good."""
    raise Fail("the input has no pages", code="no_pages")


@processor("demo.form", min_files=0)
async def form(  # noqa: PLR0913 - one param of each kind
    _job: JobContext,
    *,
    title: Annotated[str, Field(min_length=1, max_length=80, pattern="^[A-Z]", description="begins with a capital")],
    copies: Annotated[int, Field(ge=1, le=9, description="how many")] = 2,
    scale: float | None = None,
    paper: Literal["a4", "a5", "letter"] = "a4",
    colour: bool = True,
    tags: list[str] | None = None,
    sides: list[Literal["front", "back"]] = ["front"],  # noqa: B006 - it becomes a schema
    margins: Margins = Margins(),  # noqa: B008
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return its params.

    It exists to draw every kind of field.
    """
    return {
        "title": title, "copies": copies, "scale": scale, "paper": paper, "colour": colour, "tags": tags,
        "sides": sides, "margins": margins.model_dump(), "extra": extra,
    }  # fmt: skip


@processor("demo.missing", extra="pdf", requires=["a_module_that_is_not_there"])
def missing(_job: JobContext) -> None:
    """Need a module that is not installed."""
