"""Requests made from the OpenAPI document, good ones and bad ones, by schemathesis against a real server."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.server import run_server

COMMAND = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
PROCESSORS = Path(__file__).parents[1] / "web" / "processors.py"
# what a document cannot say: fields of the query are for raw bodies, and refused beside a form; an empty body is an
# empty file; and a key that is repeated gets the first answer again, also for what was deleted since
LEFT_OUT = ("positive_data_acceptance", "negative_data_rejection", "ensure_resource_availability")
ENDLESS = r"/events$"  # streams that do not end
SPARE_S = 120


@dataclass
class Fuzz:
    """How many requests were made, and what was wrong."""

    cases: int = 0
    wrong: list[str] = field(default_factory=list)


def run_schemathesis(folder: Path, seed: str, seconds: float | None = None, examples: int | None = None) -> Fuzz:
    """Send requests for so many seconds, or so many to each operation; the server must be as it was, too."""
    assert COMMAND is not None, "schemathesis is not installed"
    found = Fuzz()
    with run_server(folder / "data", processors=PROCESSORS, min_free_bytes=0, upload_stall_s=2) as server:
        limit = ["--max-examples", str(examples)] if examples else ["--max-time", str(max(int(seconds or 0), 1))]
        command = [
            COMMAND, "run", f"{server.url}/openapi.json", "--exclude-path-regex", ENDLESS, "--seed", str(number(seed)),
            "--exclude-checks", ",".join(LEFT_OUT), "--suppress-health-check", "all", "--request-timeout", "70",
            "--no-color", *limit,
        ]  # fmt: skip
        ended = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=(seconds or 0) + SPARE_S, check=False
        )
        found.cases = sum(map(int, re.findall(r"(\d+) generated", ended.stdout)))
        if ended.returncode or not found.cases:
            found.wrong.append(f"schemathesis, seed {seed}:\n{ended.stdout[-8000:]}{ended.stderr[-2000:]}")
        found.wrong += [f"in the log: {line}" for line in server.output.splitlines() if "request broke" in line]
        if server.process.poll() is not None:
            found.wrong.append(f"the server ended with {server.process.poll()}")
    return found


def number(seed: str) -> int:
    """Return the seed as the number that schemathesis takes."""
    return int(seed) if seed.isdigit() else sum(seed.encode())
