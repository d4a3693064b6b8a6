"""`filemill processors`: what the server can do with files."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from service.cli import new, render
from service.cli.exits import ListGroup
from service.cli.options import Json, Url, connect
from service.cli.schema import Param, params_of, parts_of

if TYPE_CHECKING:
    from service.client import ProcessorInfo
    from service.processors.base import Processor
    from service.processors.registry import Registry
    from service.settings import Settings

_STEPS = re.compile(r"^(?:\s|[-*+] |\d+[.)] )", re.MULTILINE)  # lines that are lines: of a list, or indented

app = typer.Typer(cls=ListGroup, help="List the processors, show what they take, and begin one of your own.")
app.command("new")(new.new)


Local = Annotated[bool, typer.Option("--local", help="Ask no server: read FILEMILL_PROCESSORS and the catalogue here.")]


@app.command("list")
def list_processors(*, local: Local = False, json: Json = False, url: Url = None) -> None:
    """List the processors of the server. This is also what `filemill processors` alone does."""
    if local:
        found = _local()
    else:
        with connect(url) as mill:
            found = mill.processors()
    if json:
        render.print_json([one.raw for one in found])
        return
    table = render.table("Processor", "Accepts", "Summary")
    table.columns[0].no_wrap = True
    for one in found:
        cells = (one.name, ", ".join(one.accepts), _summary(one))
        table.add_row(*(Text(render.plain(cell), "" if _is_available(one) else "dim") for cell in cells))
    render.show(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the processor.")],
    *,
    local: Local = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Print what a processor does, and the params it takes."""
    if local:
        info = _local_one(name)
    else:
        with connect(url) as mill:
            info = mill.processor(name)
    if json:
        render.print_json(info.raw)
    else:
        _print_processor(info)


def _is_available(info: "ProcessorInfo") -> bool:
    return bool(info.raw.get("available", True))


def _summary(info: "ProcessorInfo") -> str:
    return info.summary if _is_available(info) else f"Not available: {_remedy(info)}. {info.summary}".strip()


def _remedy(info: "ProcessorInfo") -> str:
    """Say what makes a processor available."""
    return str(info.raw.get("install") or "the server lacks a module that it needs")


def _local() -> "tuple[ProcessorInfo, ...]":
    registry, settings = _registry()
    return tuple(_described(one, settings) for one in registry.values())


def _local_one(name: str) -> "ProcessorInfo":
    registry, settings = _registry()
    return _described(registry.get_named(name), settings)


def _registry() -> "tuple[Registry, Settings]":
    from service.processors.registry import load_registry  # noqa: PLC0415 - imports all that processors need
    from service.settings import load_settings  # noqa: PLC0415 - slow to import

    settings = load_settings()
    return load_registry(settings.processors), settings


def _described(one: "Processor", settings: "Settings") -> "ProcessorInfo":
    """Describe a processor as a server with these settings would."""
    from service.client.answers import parse_processor  # noqa: PLC0415 - httpx is slow to import
    from service.web.schemas import processor_view  # noqa: PLC0415 - so is the database

    return parse_processor(processor_view(one, settings).model_dump(mode="json"))


def _print_processor(info: "ProcessorInfo") -> None:
    facts = render.grid()
    for label, value in _facts(info):
        facts.add_row(label, Text(render.plain(value)))
    params = params_of(info.params_schema)
    prose = "\n\n".join(filter(None, [info.summary, _flowing(info.raw.get("details", ""))]))
    render.show(Text(render.plain(info.name), "bold"), Text(render.plain(prose, lines=True) + "\n"), facts)
    if not params:
        render.show("\nIt takes no params.")
        return
    render.show(Text("\nParams", "bold"), _params_table(params))
    for name, parts in parts_of(info.params_schema):
        render.show(Text(f"\n{render.plain(name)}, an object", "bold"), _params_table(parts))


def _flowing(text: str) -> str:
    """Return the text with each paragraph on one line, so that it is broken once, for this terminal; lists stay."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(one if _STEPS.search(one) else " ".join(one.split()) for one in paragraphs)


def _params_table(params: list[Param]) -> Any:
    table = render.table("Name", "Type", "Default", "Meaning")
    table.columns[0].no_wrap = True
    for one in params:
        default = Text("required", "yellow") if one.is_required else Text(render.plain(one.default))
        table.add_row(Text(render.plain(one.name)), Text(render.plain(one.type)), default, render.plain(one.meaning))
    return table


def _facts(info: "ProcessorInfo") -> Iterator[tuple[str, str]]:
    limits = info.limits
    if not _is_available(info):
        yield "Available", f"no: {_remedy(info)}"
    yield "Accepts", ", ".join(info.accepts)
    yield "Files", _file_count(limits.get("min_files"), limits.get("max_files"))
    if (timeout_s := limits.get("timeout_s")) is not None:
        yield "Time limit", f"{render.duration(timeout_s)} for each attempt"
    if (max_attempts := limits.get("max_attempts")) is not None:
        yield "Attempts", f"{max_attempts:g}"
    if (memory_limit_bytes := limits.get("memory_limit_bytes")) is not None:
        yield "Memory limit", render.size(memory_limit_bytes)
    if (max_concurrency := limits.get("max_concurrency")) is not None:
        yield "At once", f"{max_concurrency:g}"


def _file_count(least: float | None, most: float | None) -> str:
    if most is None:
        return f"{least or 0:g} or more"
    return f"{most:g}" if least == most else f"{least or 0:g} to {most:g}"
