"""`filemill jobs`: look at jobs, wait for them, steer them, fetch what they made."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import render
from service.cli.board import Standing, label_of
from service.cli.deleting import confirm, delete_each
from service.cli.exits import ExitCode, ListGroup, Tally
from service.cli.full import print_job
from service.cli.options import JobId, JobIds, Json, Overwrite, TimeoutS, Url, connect, server_url
from service.cli.outputs import download_outputs
from service.cli.progress import waiting
from service.cli.watching import Listing, watch_to_the_end
from service.clock import SystemClock
from service.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from service.client import Filemill, Job

app = typer.Typer(cls=ListGroup, help="Look at jobs, wait for them, steer them, fetch what they made.")


@app.command("list")
def list_jobs(
    *,
    state: Annotated[State | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    processor: Annotated[str | None, typer.Option("--processor", help="Only jobs of this processor.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many to print.")] = 20,
    all_jobs: Annotated[bool, typer.Option("--all", help="Print all of them.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """List jobs, the newest first. This is also what `filemill jobs` alone does."""
    with connect(url) as mill:
        most = None if all_jobs else limit
        if json:
            render.print_json_array(job.raw for job in mill.list(state=state, processor=processor, limit=most))
        else:
            render.print_jobs(mill.list(state=state, processor=processor, limit=most, large=render.shown_fields()))


@app.command()
def show(job_id: JobId, *, json: Json = False, url: Url = None) -> None:
    """Print all that is known of a job."""
    with connect(url) as mill:
        job = mill.get(job_id)
    print_result([job], json=json, many=False)


@app.command()
def wait(ids: JobIds, *, timeout_s: TimeoutS = None, json: Json = False, url: Url = None) -> None:
    """Wait until the jobs have finished, and print them; exit code 1 when one of them did not succeed."""
    tally = Tally()
    with connect(url) as mill:
        print_result(wait_for(mill, ids, timeout_s, tally), json=json, many=len(ids) > 1)
    tally.finish()


@app.command()
def watch(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="The ids of the jobs; without any, all jobs.")
    ] = None,
    *,
    json: Json = False,
    url: Url = None,
) -> None:
    """Watch jobs as they run, each to its end; exit code 1 when one of them did not succeed.

    Without an id, watch what happens to all jobs from now on, until Ctrl-C.
    --json prints one event a line.
    """
    server = server_url(url)
    if not ids:
        with suppress(KeyboardInterrupt):
            _watch_all(server, json=json)
        return
    with connect(server) as mill:
        standings = [Standing(one, label_of(mill.get(one))) for one in dict.fromkeys(ids)]
    watch_to_the_end(server, standings, render.stdout(), json=json)
    tally = Tally()
    note_ends(standings, tally)
    tally.finish()


@app.command()
def cancel(ids: JobIds, *, json: Json = False, url: Url = None) -> None:
    """Cancel jobs that have not finished; a running one is stopped."""
    with connect(url) as mill:
        _steer(ids, mill.cancel, json=json)


@app.command()
def retry(ids: JobIds, *, json: Json = False, url: Url = None) -> None:
    """Queue jobs again that failed or were cancelled."""
    with connect(url) as mill:
        _steer(ids, mill.retry, json=json)


@app.command()
def delete(
    ids: JobIds,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
) -> None:
    """Delete jobs that are not running, with their files."""
    if not yes:
        what = "this job and its files" if len(ids) == 1 else f"these {len(ids)} jobs and their files"
        confirm(f"Delete {what}?")
    with connect(url) as mill:
        delete_each(ids, mill.delete)


@app.command()
def download(
    job_id: JobId,
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", file_okay=False, help="Where to put them; made if need be."),
    ] = Path(),
    overwrite: Overwrite = False,
    url: Url = None,
) -> None:
    """Download the outputs of a job, and print their paths."""
    tally = Tally()
    with connect(url) as mill:
        job = mill.get(job_id)
        for path in download_outputs(mill, [job], output, tally, overwrite=overwrite):
            print(render.plain(path))
    if not job.outputs:
        render.note(f"Job {job.id} is {job.state.value} and has no outputs.")
    if job.state is not State.SUCCEEDED:
        tally.note(ExitCode.REFUSED)
    tally.finish()


def wait_for(mill: "Filemill", ids: "Sequence[str]", timeout_s: float | None, tally: Tally) -> "Iterator[Job]":
    """Yield each job when it has ended, all within one time limit; the tally learns of each that did not succeed."""
    clock = SystemClock()
    start = clock.monotonic()
    for number, job_id in enumerate(ids, 1):
        left = None if timeout_s is None else max(0.0, timeout_s - (clock.monotonic() - start))
        subject, words = ("", "Waiting") if len(ids) == 1 else (job_id, f"Waiting for job {number} of {len(ids)}")
        job: Job | None = None
        with tally.going_on(subject):
            job = _wait_for_one(mill, job_id, left, words)
            if not job.is_finished:
                render.complain(f"job {job.id} is still {job.state.value} after {timeout_s:g} s; it goes on")
                tally.note(ExitCode.TIMED_OUT)
            elif job.state is not State.SUCCEEDED:
                tally.note(ExitCode.REFUSED)
        if job is not None:
            yield job


def note_ends(standings: "Sequence[Standing]", tally: Tally) -> None:
    """Tell the tally of each job that did not succeed."""
    for one in standings:
        if not one.is_finished:
            tally.note(ExitCode.TIMED_OUT)
        elif one.state is not State.SUCCEEDED:
            tally.note(ExitCode.REFUSED)


def print_result(jobs: "Iterable[Job]", *, json: bool, many: bool) -> None:
    """Print one job in full, or several as a table; as JSON, an object or an array. None is kept once it is printed."""
    if json and many:
        render.print_json_array(job.raw for job in jobs)
    elif many:
        render.print_jobs(jobs, if_none="")
    else:
        for job in jobs:
            render.print_json(job.raw) if json else print_job(job)


def _watch_all(server: str, *, json: bool) -> None:
    audience = Listing(render.stdout(), json=json)
    with connect(server) as mill:
        for event in mill.watch(
            states=list(State),
            patience_s=None,
            on_connect=lambda: audience.lose(lost=False),
            on_loss=lambda _: audience.lose(lost=True),
        ):
            audience.hear(event)


def _wait_for_one(mill: "Filemill", job_id: str, timeout_s: float | None, words: str) -> "Job":
    from service.client import WaitTimeoutError  # noqa: PLC0415 - httpx is slow to import

    try:
        with waiting(words) as on_update:
            return mill.wait(job_id, timeout_s, on_update)
    except WaitTimeoutError as error:
        return error.job


def _steer(ids: "Sequence[str]", act: "Callable[[str], Job]", *, json: bool) -> None:
    tally = Tally()
    print_result(_each(ids, act, tally), json=json, many=True)
    tally.finish()


def _each(ids: "Sequence[str]", act: "Callable[[str], Job]", tally: Tally) -> "Iterator[Job]":
    for job_id in ids:
        job: Job | None = None
        with tally.going_on(job_id):
            job = act(job_id)
        if job is not None:
            yield job
