"""Templates from outside: Jinja2 in a sandbox, rendered piece by piece."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from service.processors.base import Fail

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

MAX_REPEATED_CHARS = 1_000_000


def compiled(source: str, *, name: str = "template", html: bool = False) -> "Template":
    """Return the template, ready to be rendered; with `html`, values are escaped.

    Raises:
        Fail: it is not a template.
    """
    import jinja2  # noqa: PLC0415 - only needed by those who render

    try:
        return Template(_environment(html=html).from_string(source), name)
    except jinja2.TemplateError as error:
        line = f" in line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise Fail(f"the {name} is not valid{line}: {_first_line(error)}", code="invalid_template") from None
    except (RecursionError, OverflowError, ValueError, MemoryError) as error:
        raise Fail(f"the {name} is not valid: {_first_line(error)}", code="invalid_template") from None


class Template:
    """A template that can reach nothing but its data."""

    def __init__(self, template: Any, name: str) -> None:
        self._template = template
        self._name = name

    def pieces(self, data: Mapping[str, Any]) -> Iterator[str]:
        """Yield the text as it is rendered.

        Raises:
            Fail: the template reaches for what is closed to it, or for data that is not there.
        """
        from jinja2.exceptions import SecurityError, UndefinedError  # noqa: PLC0415 - see above

        try:
            yield from self._template.generate(data)
        except SecurityError as error:
            message = f"the {self._name} may not do this: {_first_line(error)}"
            raise Fail(message, code="template_forbidden") from None
        except UndefinedError as error:
            message = f"the {self._name} asks for data that was not given: {_first_line(error)}"
            raise Fail(message, code="template_data_missing") from None
        except (Fail, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a template can bring about
            message = f"the {self._name} cannot be rendered: {type(error).__name__}: {_first_line(error)}"
            raise Fail(message, code="template_failed") from None


def _environment(*, html: bool) -> "SandboxedEnvironment":
    from jinja2 import StrictUndefined  # noqa: PLC0415 - see above
    from jinja2.exceptions import SecurityError  # noqa: PLC0415
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Environment(ImmutableSandboxedEnvironment):
        """The sandbox of Jinja2, in which one operation cannot fill the memory either."""

        intercepted_binops = frozenset(["*", "**", "%"])

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if _is_huge(operator, left, right):
                raise SecurityError(f"{operator} would make too large a value")
            return super().call_binop(context, operator, left, right)

    environment = Environment(undefined=StrictUndefined, autoescape=html, keep_trailing_newline=True)
    for name in ("lipsum", "cycler", "joiner"):
        environment.globals.pop(name, None)
    return environment


def _is_huge(operator: str, left: Any, right: Any) -> bool:
    match operator, left, right:
        case "*", str() | bytes() | list() | tuple(), int():
            return len(left) * right > MAX_REPEATED_CHARS
        case "*", int(), str() | bytes() | list() | tuple():
            return left * len(right) > MAX_REPEATED_CHARS
        case (("*" | "**"), int(), int()):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            return bits > MAX_REPEATED_CHARS
        case "%", str(), _:
            return any(len(digits) > 4 for digits in re.findall(r"\d+", left)) or "*" in left  # noqa: PLR2004 - a width of 10,000
        case _:
            return False


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
