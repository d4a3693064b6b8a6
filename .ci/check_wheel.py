"""Install the wheel into an empty environment, serve from an empty folder, and take one job through.

The environment has nothing but what the wheel asks for, and the folder lies outside the checkout: a file that the
wheel forgot cannot be found by accident.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
READY_S = 60

SUBMIT = """
import json, sys, time, pathlib
from service.client import Filemill, ServerUnreachableError

address = pathlib.Path("filemill-data/server.json")
deadline = time.monotonic() + float(sys.argv[1])
while not address.exists():
    assert time.monotonic() < deadline, "the server did not start"
    time.sleep(0.05)
with Filemill(json.loads(address.read_text())["url"]) as mill:
    job = mill.submit("image.thumbnail", [pathlib.Path(sys.argv[2])], {"width": 100}, wait_s=60)
    assert job.state == "succeeded", job
    print("a photo went through:", job.outputs[0].name)
"""


def main() -> None:
    """Build, install, serve, submit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = install(build(folder / "dist"), folder / "environment")
        empty = folder / "empty"
        empty.mkdir()
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and "FILEMILL" not in key}
        run = {"cwd": empty, "env": clean}
        with subprocess.Popen([python.with_name("filemill"), "serve", "--port", "0"], **run) as server:
            try:
                subprocess.run(
                    [python, "-c", SUBMIT, str(READY_S), ROOT / "tests/samples/rocket.jpg"], check=True, **run
                )
            finally:
                server.terminate()
        assert server.returncode == 0, f"the server ended with {server.returncode}"


def build(folder: Path) -> Path:
    """Build the wheel, and return its path."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--installer", "pip", "-o", folder, ROOT],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return next(folder.glob("*.whl"))


def install(wheel: Path, environment: Path) -> Path:
    """Install the wheel into a new environment, and return its Python."""
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", ROOT / "requirements.lock", wheel], check=True)
    return python


if __name__ == "__main__":
    main()
