"""How long a GET of a job takes, idle and while every core is busy with jobs.

One connection asks 50 times a second, a pace at which no server falls behind by itself. A time counts from the moment
at which the request was due, so that a stall is charged for all that had to wait. The tutorial runs the same busy loop
as a plain function of `BackgroundTasks`, which Starlette puts into a thread: its better form.
"""

from tests.benchmarks import load
from tests.benchmarks.figures import ms, quantile
from tests.benchmarks.filemill import JOBS, start_filemill
from tests.benchmarks.lab import Piece
from tests.benchmarks.rows import OURS, Contestant, Family, Figures, Must, Row, Scale
from tests.benchmarks.webapps import start_app

IDLE, TUTORIAL = "Filemill, idle", "FastAPI BackgroundTasks"
PER_S = 50.0
_SPARE_S = 20


def api(scale: Scale) -> Family:
    """Return the p99 and the median under load."""
    seconds = scale.pick(20, 4, 1)
    return Family(
        name="api",
        about="GET of a job while CPU-bound jobs keep every core busy",
        rows=(
            Row("api-p99", "GET of a job while every core is busy, p99", "ms", "less", (Must(IDLE, at_most=2),)),
            Row("api-p50", "GET of a job while every core is busy, p50", "ms", "less", (), IDLE),
        ),
        contestants=(
            Contestant(OURS, "ours", lambda piece: _filemill(piece, seconds, busy=True)),
            Contestant(IDLE, "beside", lambda piece: _filemill(piece, seconds, busy=False)),
            Contestant(TUTORIAL, "peer", lambda piece: _tutorial(piece, seconds)),
        ),
        limit_s=180,
    )


def watch(address: load.Address, path: str, seconds: float) -> Figures:
    """Return the quantiles of a GET at a steady pace."""
    request = load.head("GET", path)
    load.paced(address, request, PER_S, 0.5)
    taken = load.paced(address, request, PER_S, seconds)
    return {"api-p99": ms(quantile(taken, 0.99)), "api-p50": ms(quantile(taken, 0.5))}


def _filemill(piece: Piece, seconds: float, *, busy: bool) -> Figures:
    server = start_filemill(piece)
    if busy:
        spins = [server.submit("bench.spin", seconds=seconds + _SPARE_S) for _ in range(piece.cores)]
        for job_id in spins:
            server.wait_state(job_id, "running")
        job_id = spins[0]
    else:
        job_id = server.submit("bench.noop")
        server.wait_state(job_id, "succeeded")
    return watch(server.address, f"{JOBS}/{job_id}", seconds)


def _tutorial(piece: Piece, seconds: float) -> Figures:
    app = start_app(piece, "tutorial")
    for _ in range(piece.cores):
        load.call(app.address, load.head("POST", f"/spin?seconds={seconds + _SPARE_S}")).require(202)
    return watch(app.address, "/jobs/known", seconds)
