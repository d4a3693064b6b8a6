"""The README's reference tables, made from the code: `python -m tests.docs_tables` writes them anew."""

from collections.abc import Callable, Iterator
from pathlib import Path

import service.app  # noqa: F401 - so that every error class is known
from service.cli.render import exact
from service.errors import FilemillError, StartError, error_classes
from service.processors.registry import load_registry
from service.settings import Settings, environment_name
from service.states import TRANSITIONS, Move

README = Path(__file__).parent.parent / "README.md"

MEANING = {
    Move.SUBMIT: "a submission was committed",
    Move.CLAIM: "a consumer took the job; the attempt is counted here",
    Move.SUCCEED: "the processor returned",
    Move.FAIL: "the processor said `Fail`, or the last attempt failed",
    Move.BACK_OFF: "an attempt failed and another is left: later, after a growing, random delay",
    Move.SNOOZE: "the processor said `Snooze`: later, and the attempt does not count",
    Move.RELEASE: "the server stopped before the job was done: at once, and the attempt does not count",
    Move.RESCUE: "the server died: at once, or later after deaths in a row, and the attempt does not count",
    Move.GIVE_UP: "the server died `FILEMILL_MAX_LOSSES` times in a row while it ran the job",
    Move.CANCEL: "you cancelled it",
    Move.RETRY: "you asked for it again",
}


def settings_table() -> Iterator[str]:
    """Yield a row for each setting."""
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for name, field in Settings.model_fields.items():
        if field.default_factory is not None or field.default is None:
            default = "-"
        elif name.endswith("_bytes"):
            default = f"`{exact(field.default, 'bytes')}`"
        else:
            default = f"`{field.default}`" if str(field.default) else "-"
        yield f"| `{environment_name(name)}` | {default} | {field.description} |"


def errors_table() -> Iterator[str]:
    """Yield a row for each code that the API may answer with."""
    yield "| status | `code` | means |"
    yield "|---|---|---|"
    answers: dict[str, type[FilemillError]] = {}
    for one in error_classes():
        if not issubclass(one, StartError):
            answers.setdefault(one.code, one)  # a kind of an error may share its code: the general one is told
    for one in sorted(answers.values(), key=_by_status):
        yield f"| {one.http_status} | `{one.code}` | {one.title()} |"


def states_table() -> Iterator[str]:
    """Yield a row for each move from state to state."""
    yield "| move | from | to | when |"
    yield "|---|---|---|---|"
    for move, (sources, target) in TRANSITIONS.items():
        yield f"| `{move}` | {', '.join(sorted(sources)) or '-'} | {target} | {MEANING[move]} |"


def catalogue_table() -> Iterator[str]:
    """Yield a row for each built-in processor."""
    yield "| processor | does | extra |"
    yield "|---|---|---|"
    for one in load_registry().values():
        yield f"| `{one.name}` | {one.summary} | {one.extra or '-'} |"


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "catalogue": catalogue_table,
    "settings": settings_table,
    "errors": errors_table,
    "states": states_table,
}


def with_tables(text: str) -> str:
    """Return the text with each table between its two marks made anew."""
    for name, rows in TABLES.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"README.md has no place for the table {name!r}"
        text = "\n".join([before + begin, *rows(), end + after])
    return text


def _by_status(error: type[FilemillError]) -> tuple[int, str]:
    return error.http_status, error.code


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
