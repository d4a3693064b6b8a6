"""What a function says of itself in its docstring."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from docstring_parser import DocstringStyle, ParseError, parse


@dataclass(frozen=True, slots=True)
class Prose:
    """The first paragraph on one line; the paragraphs after it; and the meaning of each parameter."""

    summary: str = ""
    details: str = ""
    params: Mapping[str, str] = field(default_factory=dict)


def prose_of(function: Callable[..., Any]) -> Prose:
    """Read a docstring in Google's style: a summary, paragraphs, and an `Args:` section."""
    text = inspect.getdoc(function) or ""
    try:
        parsed = parse(text, style=DocstringStyle.GOOGLE)
    except ParseError:  # a section of another style; it is prose, so nothing fails for it
        return Prose(*_paragraphs(text))
    params = {one.arg_name: _one_line(one.description) for one in parsed.params if one.description}
    return Prose(*_paragraphs(parsed.description or ""), params)


def _paragraphs(text: str) -> tuple[str, str]:
    summary, _, details = text.partition("\n\n")
    return _one_line(summary), details.strip()


def _one_line(text: str) -> str:
    return " ".join(text.split())
