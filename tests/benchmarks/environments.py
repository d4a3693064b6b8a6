"""The peers' virtual environments: made once from PyPI, kept in the cache folder."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.rows import AbsentError

_WEB = ("fastapi", "uvicorn[standard]", "python-multipart")
PACKAGES: dict[str, tuple[str, ...]] = {
    "fastapi": _WEB,
    "huey": ("huey",),
    "procrastinate": ("procrastinate", "psycopg[binary,pool]", "uvloop"),
    "saq": ("saq[redis,hiredis]", "typing-extensions", "uvloop"),
    "taskiq": ("taskiq", "taskiq-redis", "hiredis", "uvloop"),
    "celery": ("celery[redis]", "hiredis"),
    "rq": ("rq", "hiredis"),
    "photos": (*_WEB, "celery[redis]", "hiredis", "pyvips[binary]"),
    "pandas": ("pandas", "pyarrow"),
}
_INSTALL_LIMIT_S = 900


@dataclass(slots=True)
class Environments:
    """A folder with one virtual environment for each peer."""

    folder: Path

    def python_of(self, name: str) -> Path:
        """Return the interpreter of an environment, installed if need be.

        Raises:
            AbsentError: it cannot be installed.
        """
        place, wanted = self.folder / name, sorted(PACKAGES[name])
        facts = {"wanted": wanted, "interpreter": sys.version}
        python, done = place / "bin" / "python", place / "installed.json"
        if _noted(done) != facts:
            shutil.rmtree(place, ignore_errors=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            _run([sys.executable, "-m", "venv", str(place)])
            _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
            done.write_text(json.dumps(facts | {"versions": _versions(python)}), encoding="utf-8")
        return python

    def versions(self) -> dict[str, dict[str, str]]:
        """Return, for each environment that is installed, the versions of what was asked for."""
        found = {}
        for done in sorted(self.folder.glob("*/installed.json")):
            noted = json.loads(done.read_text(encoding="utf-8"))
            names = {package.partition("[")[0] for package in noted["wanted"]}
            found[done.parent.name] = {name: noted["versions"].get(name, "") for name in sorted(names)}
        return found


def _noted(done: Path) -> dict[str, object] | None:
    """Return what an environment was made of, if it was made to its end."""
    if not done.exists():
        return None
    noted: dict[str, object] = json.loads(done.read_text(encoding="utf-8"))
    return {name: value for name, value in noted.items() if name != "versions"}


def _versions(python: Path) -> dict[str, str]:
    listed = _run([str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"])
    return {one["name"].lower().replace("_", "-"): one["version"] for one in json.loads(listed)}


def _run(command: list[str]) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise AbsentError(f"not installed: {error}") from error
    if ended.returncode:
        raise AbsentError(f"not installed: {ended.stderr.strip()[-300:]}")
    return ended.stdout
