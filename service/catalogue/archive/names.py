"""Names of archive entries: which of them are dangerous, and what is left of the others."""

import fnmatch
import re
from pathlib import PurePosixPath

_DRIVE = re.compile(r"[A-Za-z]:")
MAX_NAME_CHARS = 4096


def danger_of(name: str, kind: str) -> str | None:
    """Return why an entry must not be unpacked, in a word or two, or None."""
    path = name.replace("\\", "/")
    if kind in {"link", "device"}:
        return kind
    if path.startswith("/") or _DRIVE.match(path):
        return "absolute name"
    if ".." in path.split("/"):
        return "name with .."
    if not path.strip("/. ") or "\0" in path or len(path) > MAX_NAME_CHARS:
        return "unusable name"
    return None


def matches(path: str, pattern: str) -> bool:
    """Return whether the whole path fits: `*` stops at a slash, `**` is any folders; `*.csv` is in any folder."""
    names = path.split("/")
    reached = {0}  # how many names the parts so far may have taken
    for part in (pattern.removeprefix("/") if "/" in pattern else f"**/{pattern}").split("/"):
        if part == "**":
            reached = set(range(min(reached, default=len(names) + 1), len(names) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(names) and fnmatch.fnmatchcase(names[at], part)}
    return len(names) in reached


def path_of(name: str) -> PurePosixPath:
    """Return a client's file name as a relative path without steps up, drives and control characters."""
    clean = re.sub(r"[\x00-\x1f\x7f]", "", name.replace("\\", "/")).encode("utf-8", "replace").decode()
    parts = [part for part in PurePosixPath(_DRIVE.sub("", clean)).parts if part not in {"/", "//", "..", "."}]
    return PurePosixPath(*parts) if parts else PurePosixPath("file")
