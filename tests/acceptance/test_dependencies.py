"""The versions that are installed have the fixes that we count on, and the project asks for no older ones."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
# the first version with the fix; the source is the project's own advisory or changelog
FIXED = {
    "python-multipart": ("0.0.32", "denial of service by malformed boundaries and header floods"),
    "starlette": ("0.49.1", "quadratic time in the parsing of Range headers (CVE-2025-62727)"),
    "jinja2": ("3.1.6", "escape from the sandbox (CVE-2025-27516)"),
    "h11": ("0.16.0", "request smuggling by malformed chunks (CVE-2025-43859)"),
    "pillow": ("11.3.0", "overflow while a DDS image is written (CVE-2025-48379)"),  # not ours; a user may have it
}


@pytest.mark.parametrize("name", FIXED)
def test_a_package_that_is_installed_has_its_fix(name):
    fixed, why = FIXED[name]
    try:
        found = version(name)
    except PackageNotFoundError:
        assert name == "pillow", "the others are what the service stands on"
        return
    assert Version(found) >= Version(fixed), f"{name} {found}: {why}; fixed in {fixed}"


def test_the_lock_file_and_the_project_ask_for_no_version_without_its_fix():
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    for name, (fixed, why) in FIXED.items():
        if name in locked:
            assert Version(locked[name]) >= Version(fixed), f"{name}: {why}"
        if name in asked:
            older = f"{fixed}.dev0"
            assert not asked[name].contains(older, prereleases=True), f"{name} may be older than {fixed}: {why}"
