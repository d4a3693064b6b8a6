"""The table: one line for each row, for people, for programs and for the README."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from tests.benchmarks.rows import OURS, Must, Result
from tests.benchmarks.runner import verdicts

COLUMNS = ("work", "unit", OURS, "others", "ratio", "must", "reached")
_WHY_CHARS = 80
_MARKS = {True: "yes", False: "NO", None: "?"}


def as_table(results: Iterable[Result]) -> Table:
    """Return the table for a terminal."""
    table = Table(*COLUMNS, title="Filemill beside its peers: medians", show_lines=True)
    for result in results:
        table.add_row(*("\n".join(cell) for cell in _cells(result)))
    return table


def as_markdown(results: Iterable[Result]) -> str:
    """Return the table for the README."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join("<br>".join(cell) for cell in _cells(result)) + " |" for result in results]
    return "\n".join(lines) + "\n"


def as_json(result: Result) -> dict[str, Any]:
    """Return a row with all that was measured."""
    row = result.row
    return {
        "row": row.key,
        "work": row.work,
        "unit": row.unit,
        "better": row.better,
        "figures": result.figures,
        "rounds": result.rounds,
        "missing": result.missing,
        "musts": [
            {"must": _must(must), "value": result.measure(must.against), "reached": reached}
            for must, reached in zip(row.musts, verdicts(result), strict=True)
        ],
    }


def number(value: float) -> str:
    """Return three digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cells(result: Result) -> Sequence[list[str]]:
    row = result.row
    ours = number(result.ours) if result.ours is not None else _short(result.missing.get(OURS, "no figure"))
    return (
        [row.work],
        [row.unit],
        [ours],
        _others(result),
        _ratios(result),
        [_must(must) for must in row.musts],
        [_MARKS[reached] for reached in verdicts(result)],
    )


def _short(why: str) -> str:
    """Return the last line of a reason; the whole of it was told when it happened, and is in the JSON."""
    lines = why.strip().splitlines()
    line = lines[0] if len(lines) == 1 else f"{why.partition(':')[0]}: {lines[-1].strip()}"
    return line if len(line) <= _WHY_CHARS else line[:_WHY_CHARS] + "…"


def _others(result: Result) -> list[str]:
    """Name the peers, then what stands beside: the best first, the missing last."""
    found = [(name, value) for name, value in result.figures.items() if name != OURS]
    sign = -1 if result.row.better == "more" else 1
    found.sort(key=lambda one: (result.roles[one[0]] != "peer", sign * one[1]))
    missing = [f"{name}: {_short(why)}" for name, why in result.missing.items() if name != OURS]
    return [f"{name} {number(value)}" for name, value in found] + missing


def _ratios(result: Result) -> list[str]:
    """Give the ratio behind each must; the one to the row's rival, by name, where the must names none."""
    if any(must.against not in {"", "peers"} for must in result.row.musts):
        return [_ratio(result, must.against) for must in result.row.musts]
    against = result.row.against
    rival = result.rival(against)
    return [f"{ratio} x {rival}"] if (ratio := _ratio(result, against)) else []


def _ratio(result: Result, against: str) -> str:
    value = result.measure(against)
    return "" if value is None or result.rival(against) is None else number(value)


def _must(must: Must) -> str:
    words = [
        f"{sign} {number(bound)}"
        for sign, bound in ((">=", must.at_least), ("<=", must.at_most), ("<", must.below))
        if bound is not None
    ]
    if must.against:
        words.append("x " + ("the best peer" if must.against == "peers" else must.against))
    return " ".join(words)
