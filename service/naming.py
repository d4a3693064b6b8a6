"""Names of files that lead nowhere, and that no two files of one folder share."""

import re
import stat
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field

MAX_NAME_BYTES = 200
MAX_STEM_CHARS = 180
FileName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^\.{0,2}[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*$")
]
_FOR_SYSTEMS = re.compile(r'[<>:"|?*]')  # what some file systems refuse
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, format and surrogate characters, line ends


_KINDS = {
    stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}  # fmt: skip


class DistinctNames:
    """Gives each file a name of its own: `photo.jpg`, `photo-2.jpg`. Some file systems do not tell A from a."""

    def __init__(self, mark: str = "-", first: int = 2) -> None:
        self._mark = mark
        self._first = first
        self._taken: set[str] = set()
        self._last: dict[tuple[str, str], int] = {}  # else the ten thousandth would try ten thousand numbers

    def take(self, stem: str, suffix: str = "") -> str:
        """Return `stem` and `suffix` in one, with a number between them where that name is taken."""
        key = (stem.casefold(), suffix.casefold())
        number, name = self._last.get(key, self._first - 1), stem + suffix
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}{self._mark}{number}{suffix}"
        self._last[key] = number
        self._taken.add(name.casefold())
        return name

    def take_bare(self, name: str, fallback: str) -> str:
        """Return the bare name of what somebody called a file, with a number where that name is taken."""
        bare = Path(bare_name(name, fallback))
        return self.take(bare.stem, bare.suffix)


def bare_name(name: str, fallback: str) -> str:
    """Make a file name of what somebody called a file.

    Nothing in it leads to another folder, hides the file, or plays tricks in a terminal; at most 200 bytes.
    A name that leaves nothing becomes `fallback`.
    """
    last = re.split(r"[/\\]", name)[-1]
    seen = "".join(one for one in last if unicodedata.category(one) not in _UNSEEN)
    return _shorten(_FOR_SYSTEMS.sub("_", seen).lstrip(". ").rstrip()) or fallback


def tool_name(name: str) -> str:
    """Make a file name that every tool takes for one, with the suffix that tools go by.

    Letters and digits of any script, and `.`, `_`, `-`; what else can be seen becomes `_`: a blank, a pattern such as
    `[1]` or `%d`, a quote. It leads nowhere, is no option and not hidden; at most 200 bytes, and never empty.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name).rstrip("/\\"))[-1]
    seen = "".join(one for one in last if unicodedata.category(one) not in _UNSEEN).strip().rstrip(". ")
    plain = "".join(map(_plain, seen))
    shown = plain.lstrip(".-")
    if not shown.strip("_"):
        return "file"
    is_suffix = plain.removesuffix(shown).endswith(".") and "." not in shown
    return _shorten(f"file.{shown}" if is_suffix else shown)


def kind_of(mode: int) -> str:
    """Say in words what is there, by the mode of stat(2)."""
    return _KINDS.get(stat.S_IFMT(mode), "a device")


def stem_of(name: str, default: str) -> str:
    """Return what a client's file name says, without folders, suffix, control characters and outer dots."""
    clean = re.sub(r"[\x00-\x1f\x7f]", "", name.replace("\\", "/"))
    return PurePosixPath(clean).stem.strip(". ")[:MAX_STEM_CHARS] or default


def _plain(one: str) -> str:
    return one if one in "._-" or unicodedata.category(one)[0] in "LMN" else "_"


def _shorten(name: str) -> str:
    """Cut a long name before its suffix."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    suffix = Path(name).suffix if len(Path(name).suffix.encode()) <= MAX_NAME_BYTES // 4 else ""
    room = MAX_NAME_BYTES - len(suffix.encode())
    return name.encode()[:room].decode("utf-8", "ignore") + suffix
