"""`filemill submit`: send files to a processor, and if wished wait for what it makes of them."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import params, render
from service.cli.board import Standing, label_of
from service.cli.exits import Tally
from service.cli.jobs import note_ends, print_result, wait_for
from service.cli.options import Json, Overwrite, Url, connect
from service.cli.outputs import download_outputs
from service.cli.progress import transfer_bar
from service.cli.watching import leave_or_cancel, watch_to_the_end

if TYPE_CHECKING:
    from service.client import Filemill, Job, Source, SubmitOptions

STDIN = Path("-")

Files = Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="The input files; - is standard input.")]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="KEY=VALUE", help="A param; the value is JSON if it parses, else text."),
]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be submitted, and what to do with the jobs that come of it."""

    processor: str
    batches: Sequence[Sequence[Path]]
    params: dict[str, Any]
    options: "SubmitOptions"
    idempotency_key: str | None
    timeout_s: float | None
    wait: bool
    watch: bool
    output: Path | None
    overwrite: bool
    json: bool

    @property
    def many(self) -> bool:
        """Whether it becomes several jobs."""
        return len(self.batches) > 1


def submit(  # noqa: PLR0913 - one parameter for each option
    processor: Annotated[str, typer.Argument(metavar="PROCESSOR", help="Its name: see `filemill processors`.")],
    files: Files = None,
    *,
    param: Param = None,
    all_params: Annotated[
        str | None, typer.Option("--params", metavar="JSON", help="All params, as a JSON object.")
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Make one job of each file.")] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until the job has finished.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Watch the job until it has finished.")] = False,
    wait_s: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Wait, but not longer than this.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            file_okay=False,
            help="Wait, then download the outputs into this folder.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    priority: Annotated[int | None, typer.Option(help="Of two jobs that are ready, the higher runs first.")] = None,
    run_after: Annotated[str | None, typer.Option(metavar="ISO", help="Do not run before this instant.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, help="How often to try in all.")] = None,
    timeout_s: Annotated[float | None, typer.Option(metavar="SECONDS", help="Time limit of each attempt.")] = None,
    metadata: Annotated[str | None, typer.Option(metavar="JSON", help="Your own notes, a JSON object.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key again gives the same job again.")
    ] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Send files to a processor.

    Prints the id of the job; with --wait the job, when it has finished; with
    --output the paths of the outputs. --watch shows on the terminal how the job
    is getting on; Ctrl-C then asks whether to leave it running.
    """
    order = Order(
        processor=processor,
        batches=_batches(files or [], idempotency_key, each=each),
        params=params.merge_params(all_params, param or []),
        options={
            "priority": priority,
            "run_after": params.instant(run_after),
            "max_attempts": max_attempts,
            "timeout_s": timeout_s,
            "metadata": params.json_object(metadata, "--metadata"),
        },
        idempotency_key=idempotency_key,
        timeout_s=wait_s,
        wait=wait or wait_s is not None or output is not None or (watch and json),
        watch=watch,
        output=output,
        overwrite=overwrite,
        json=json,
    )
    tally = Tally()
    with connect(url) as mill:
        _carry_out(mill, order, tally)
    tally.finish()


def _batches(files: list[Path], idempotency_key: str | None, *, each: bool) -> list[list[Path]]:
    for file in files:
        if file != STDIN and (file.is_dir() or not file.exists()):
            raise typer.BadParameter(f"{file} is {'a folder' if file.is_dir() else 'not there'}", param_hint="FILE")
    if files.count(STDIN) > 1:
        raise typer.BadParameter("standard input can be read only once", param_hint="FILE")
    if not each:
        return [files]
    if not files:
        raise typer.BadParameter("there is no file to make a job of", param_hint="--each")
    if idempotency_key is not None and len(files) > 1:
        raise typer.BadParameter("a key stands for one job, not for one of each file", param_hint="--each")
    return [[file] for file in files]


def _carry_out(mill: "Filemill", order: Order, tally: Tally) -> None:
    if not (order.wait or order.watch):
        _print_accepted(_submit_all(mill, order, tally), order)
        return
    standings: list[Standing] = []  # all that is kept of the jobs, however many there are
    try:
        for job in _submit_all(mill, order, tally):
            standings.append(Standing(job.id, label_of(job)))  # noqa: PERF401 - what was submitted outlives Ctrl-C
        if order.watch:
            _watch(mill, order, standings, tally)
    except KeyboardInterrupt:
        if not (standings and order.watch and sys.stdin.isatty()):
            raise
        leave_or_cancel(mill, [one.job_id for one in standings], tally)
        return
    if order.wait:
        _print_ended(mill, order, [one.job_id for one in standings], tally)


def _print_accepted(jobs: "Iterator[Job]", order: Order) -> None:
    """Print each job, or its id, as soon as it is accepted."""
    if order.json:
        print_result(jobs, json=True, many=order.many)
    else:
        for job in jobs:
            print(render.plain(job.id), flush=True)


def _print_ended(mill: "Filemill", order: Order, ids: Sequence[str], tally: Tally) -> None:
    jobs = wait_for(mill, ids, order.timeout_s, tally)
    if order.output is not None:
        ended: list[str] = []
        for path in download_outputs(mill, _told(jobs, ended), order.output, tally, overwrite=order.overwrite):
            render.note(f"Saved {path}") if order.json else print(render.plain(path))
        jobs = map(mill.get, ended)
    if order.json or order.output is None:
        print_result(jobs, json=order.json, many=order.many)


def _watch(mill: "Filemill", order: Order, standings: Sequence[Standing], tally: Tally) -> None:
    """Print the ids, unless more is printed later, and show the jobs until they have ended."""
    if not order.wait:
        print(*(render.plain(one.job_id) for one in standings), sep="\n", flush=True)
    watch_to_the_end(mill.url, standings, render.stderr())
    note_ends(standings, tally)


def _submit_all(mill: "Filemill", order: Order, tally: Tally) -> "Iterator[Job]":
    for batch in order.batches:
        job: Job | None = None
        with tally.going_on(str(batch[0]) if order.many else ""):
            job = _submit_one(mill, order, batch)
        if job is not None:
            yield job


def _submit_one(mill: "Filemill", order: Order, batch: Sequence[Path]) -> "Job":
    words = batch[0].name if len(batch) == 1 else f"{len(batch)} files"
    with transfer_bar(f"Sending {words}") as moved:
        return mill.submit(
            order.processor,
            [_source(file) for file in batch],
            order.params,
            idempotency_key=order.idempotency_key,
            on_progress=moved,
            **order.options,
        )


def _source(file: Path) -> "Path | Source":
    from service.client import Source  # noqa: PLC0415 - httpx is slow to import

    return Source("stdin", sys.stdin.buffer) if file == STDIN else file


def _told(jobs: "Iterator[Job]", ids: list[str]) -> "Iterator[Job]":
    """Say what became of each job before its outputs are fetched, and note its id; standard output is for the paths."""
    for job in jobs:
        ids.append(job.id)
        if job.error is None:
            render.note(f"Job {job.id} {job.state.value}.")
        else:
            render.complain(f"job {job.id} {job.state.value}: {render.cut(job.error.get('message', ''), 1000)}")
        yield job
