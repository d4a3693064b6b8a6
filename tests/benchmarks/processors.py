"""What it costs that a plain `def` runs in a child process: a no-op through the whole service, one at a time."""

import sys

from tests.benchmarks.lab import Piece
from tests.benchmarks.rows import OURS, Contestant, Family, Figures, Must, Row, Scale

_LIMIT_S = 180.0


def overheads(scale: Scale) -> Family:
    """Return the rows of a no-op by both kinds of processor."""
    count = scale.pick(500, 150, 10)
    return Family(
        name="overhead",
        about="a no-op from submission to success, in process, medians with a warm pool",
        rows=(
            Row("async", "no-op `async def`, submit to success", "ms", "less"),
            Row("def", "no-op `def` in a child, submit to success", "ms", "less"),
            Row("difference", "what `def` costs more", "ms", "less", (Must(at_most=3),)),
        ),
        contestants=(Contestant(OURS, "ours", lambda piece: _inside(piece, count)),),
        limit_s=_LIMIT_S,
    )


def _inside(piece: Piece, count: int) -> Figures:
    return piece.run_json(
        [sys.executable, "-m", "tests.benchmarks.inside", "overhead", "--folder", piece.folder, "--count", count],
        _LIMIT_S,
        BENCH_TALLY=piece.folder / "tally",
    )
