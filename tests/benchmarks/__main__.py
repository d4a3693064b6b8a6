"""python -m tests.benchmarks [ROW …] [--quick] [--rounds N] [--json FILE] [--list]."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from rich.console import Console

from service.clock import SystemClock
from tests.benchmarks.api import api
from tests.benchmarks.lab import Lab
from tests.benchmarks.machine import Machine, survey
from tests.benchmarks.photos import large_photos, photos
from tests.benchmarks.processors import overheads
from tests.benchmarks.queues import latencies, queues
from tests.benchmarks.rows import Family, Result, Scale
from tests.benchmarks.runner import run_family
from tests.benchmarks.scale import million, pruning, starts
from tests.benchmarks.small_uploads import small_uploads
from tests.benchmarks.spreadsheets import spreadsheets
from tests.benchmarks.table import as_json, as_markdown, as_table
from tests.benchmarks.uploads import memory, uploads

FAMILIES: tuple[Callable[[Scale], Family], ...] = (
    uploads, memory, small_uploads, queues, latencies, photos, large_photos, api, overheads, spreadsheets,
    starts, million, pruning,
)  # fmt: skip
_WIDTH = 150  # of a table that goes into a file
ROUNDS = {Scale.FULL: 3, Scale.QUICK: 1, Scale.TINY: 1}


def main() -> int:
    """Run what was asked for; 0 when every must with a figure is reached."""
    wanted = _arguments()
    families = _chosen([make(wanted.scale) for make in FAMILIES], wanted.rows)
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    if wanted.list:
        for family in families:
            console.print(f"[bold]{family.name}[/bold]: {family.about}")
            for row in family.rows:
                console.print(f"  {row.key:18} {row.work} ({row.unit})", highlight=False)
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    models = Path(tempfile.mkdtemp(prefix="filemill-benchmark-models-", dir=wanted.folder))
    try:
        lab = Lab(wanted.folder.resolve(), wanted.cache.resolve(), models, wanted.scale)
        return _run(families, lab, wanted, console)
    finally:
        shutil.rmtree(models, ignore_errors=True)


def _run(families: Sequence[Family], lab: Lab, wanted: argparse.Namespace, console: Console) -> int:
    machine = survey(lab.folder, lab.scale)
    console.print(str(machine), highlight=False, soft_wrap=True)
    results: list[Result] = []
    try:
        for family in families:
            found = run_family(family, lab, wanted.rounds or ROUNDS[lab.scale], _tell)
            results += [result for result in found if _is_chosen(family, result.row.key, wanted.rows)]
            _write(results, machine, lab, wanted)
    finally:
        console.print(as_table(results))
        console.print(_versions(lab), highlight=False, soft_wrap=True)
    reached = [must["reached"] for result in results for must in as_json(result)["musts"]]
    return 1 if False in reached else 0


def _write(results: Sequence[Result], machine: Machine, lab: Lab, wanted: argparse.Namespace) -> None:
    """Write what there is so far: a run that is broken off keeps its figures."""
    if wanted.json:
        facts = {
            "at": SystemClock().now().isoformat(),
            "scale": lab.scale,
            "machine": asdict(machine),
            "versions": lab.environments.versions(),
            "rows": [as_json(result) for result in results],
        }
        wanted.json.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if wanted.markdown:
        wanted.markdown.write_text(f"{machine}\n\n{as_markdown(results)}\n{_versions(lab)}\n", encoding="utf-8")


def _versions(lab: Lab) -> str:
    """Return a sentence with the versions of the peers."""
    known = {name: version for one in lab.environments.versions().values() for name, version in one.items()}
    return "Peers: " + ", ".join(f"{name} {version}" for name, version in sorted(known.items()))


def _chosen(families: Sequence[Family], rows: Sequence[str]) -> list[Family]:
    known = {family.name for family in families} | {row.key for family in families for row in family.rows}
    if unknown := sorted(set(rows) - known):
        raise SystemExit(f"there is no row called {', '.join(unknown)}; --list names them all")
    return [family for family in families if any(_is_chosen(family, row.key, rows) for row in family.rows)]


def _is_chosen(family: Family, key: str, rows: Sequence[str]) -> bool:
    return not rows or family.name in rows or key in rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Filemill beside its peers.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows, or families of rows; all by default")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="scale", action="store_const", const=Scale.QUICK, help="about two minutes")
    size.add_argument("--tiny", dest="scale", action="store_const", const=Scale.TINY, help="only to see that it runs")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each family (3, or 1 with --quick)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--markdown", type=Path, help="file for the table, as the README shows it")
    parser.add_argument("--list", action="store_true", help="name the rows, and do nothing")
    temporary = Path(tempfile.gettempdir())
    parser.add_argument("--folder", type=Path, default=temporary, help="where to work: on the disk to be measured")
    parser.add_argument("--cache", type=Path, default=temporary / "filemill-benchmark-cache", help="what is kept")
    parser.set_defaults(scale=Scale.FULL)
    return parser.parse_args()


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
