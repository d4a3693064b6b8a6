"""The variables that are settings, told from those that only look like it.

Kubernetes gives a container variables for each Service of its namespace, so that one called filemill makes
FILEMILL_PORT=tcp://10.0.0.1:80: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
Compose passes on empty texts for what is not set, and files of variables may keep the quotes around a value.
"""

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Literal

from service.errors import SettingsError

PREFIX = "FILEMILL_"
CURE = "set enableServiceLinks: false in the pod's spec, or give the Service another name"

_ADDRESS, _NUMBER, _HOST = r"(tcp|udp|sctp)://\S+:\d+", r"\d+", r"[0-9A-Fa-f.:]+"
_OWNER, _ONE_PORT = r"FILEMILL(_\w+)?", r"_PORT_\d+_(TCP|UDP|SCTP)"
_LINKS = [
    (re.compile(_OWNER + name), re.compile(value))
    for name, value in (
        (r"_SERVICE_HOST", _HOST),
        (r"_SERVICE_PORT(_\w+)?", _NUMBER),
        (r"_PORT", _ADDRESS),
        (_ONE_PORT, _ADDRESS),
        (_ONE_PORT + "_PROTO", r"tcp|udp|sctp"),
        (_ONE_PORT + "_PORT", _NUMBER),
        (_ONE_PORT + "_ADDR", _HOST),
    )
]


@dataclass(frozen=True, slots=True)
class Variables:
    """What the environment says: the text of each setting by its variable in capitals, and what it does not say.

    `links` are the names of variables that are about a Service. What is empty is not set, and stands in neither.
    """

    texts: dict[str, str]
    links: tuple[str, ...]


def read_variables(environ: Mapping[str, str]) -> Variables:
    """Sort out the variables with the prefix; of those that differ in case alone, the last one counts."""
    ours = {name: text for name, text in environ.items() if name.upper().startswith(PREFIX)}
    links = [name for name, text in ours.items() if _is_link(name.upper(), text.strip())]
    texts = {name.upper(): text for name, text in ours.items() if name not in links and text.strip()}
    return Variables(texts, tuple(sorted(links)))


def refuse_doubled(environ: Mapping[str, str]) -> None:
    """Raise `SettingsError` where two variables differ in case alone, and say different things."""
    seen: dict[str, str] = {}
    links = read_variables(environ).links
    for name, text in environ.items():
        if not name.upper().startswith(PREFIX) or name in links or not text.strip():
            continue
        other = seen.setdefault(name.upper(), name)
        if environ[other] != text:
            raise SettingsError(f"{other} and {name} are one setting, and differ; keep one of them")


def frame_of(text: str, kind: Literal["text", "number", "secret"]) -> str | None:
    """Return what stands around a value and hardly belongs to it, or None.

    A secret is not shown, and may begin and end with anything but a line end.
    """
    if kind == "secret":
        has_end = text != text.strip("\r\n")
        return "the value begins or ends with a line end; write it without" if has_end else None
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return f"the quotes around it are a part of the value {text!r}; write {text[1:-1]} without them"
    if kind == "text" and text != text.strip():
        return f"the value {text!r} begins or ends with a blank or a line end; write it without"
    return None


def put_flags(environ: MutableMapping[str, str], texts: Mapping[str, str]) -> None:
    """Put flags into the environment, by variable, in the place of what stands there in any case of letters.

    A text that would be refused there is left out.
    """
    for name in [one for one in environ if one.upper() in texts]:
        del environ[name]
    environ.update({name: text for name, text in texts.items() if frame_of(text, "text") is None})


def _is_link(name: str, text: str) -> bool:
    return any(one.fullmatch(name) and value.fullmatch(text) for one, value in _LINKS)
