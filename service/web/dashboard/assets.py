"""The files that the pages are made of: scripts, the stylesheet, the icon. All are known by name, none by path."""

import hashlib
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

_FOLDER = Path(__file__).parents[1] / "static"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_IMPORT = re.compile(r'^(?:import|export) [^"]*"(?P<place>\./[\w./-]+)";$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Assets:
    """The files by name, and a `version` that changes with any of them, so that browsers may keep them for ever."""

    files: Mapping[str, bytes]
    version: str

    def modules_of(self, name: str) -> list[str]:
        """Return the names of all modules that a script needs: the page names them, so that none waits for another."""
        found: dict[str, None] = {}
        open_names = [name]
        while open_names:
            one = open_names.pop()
            places = _IMPORT.findall(self.files[one].decode())
            names = [posixpath.normpath(posixpath.join(posixpath.dirname(one), place)) for place in places]
            open_names += [new for new in names if new not in found]
            found |= dict.fromkeys(names)
        return sorted(found)


@cache
def load_assets() -> Assets:
    """Read the files, once."""
    paths = sorted(path for path in _FOLDER.rglob("*") if path.suffix in MEDIA_TYPES)
    files = {path.relative_to(_FOLDER).as_posix(): path.read_bytes() for path in paths}
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return Assets(MappingProxyType(files), digest.hexdigest()[:12])
