"""Dependencies point down: the import contracts of pyproject.toml hold."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = shutil.which("lint-imports", path=str(Path(sys.executable).parent))


def test_every_import_contract_holds(tmp_path):
    assert COMMAND is not None, "import-linter is not installed; pip install 'filemill[test]'"
    config = ROOT / "pyproject.toml"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [COMMAND, "--config", str(config), "--cache-dir", str(tmp_path)]
    linted = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "0 broken" in linted.stdout
