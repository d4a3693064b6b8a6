"""text.write and text.stats on real, large and hostile input."""

import json
import tracemalloc

import pytest

from service.catalogue.text import write as text_module
from service.catalogue.text.stats import stats
from service.catalogue.text.write import PIECE_BYTES, write
from service.errors import InvalidParamsError
from service.processors.base import ProgressNote
from tests.integration.catalogue import SAMPLES

# ---- a content


def test_the_content_is_written_as_utf_8_under_the_name(attempts):
    done = attempts.run(write, name="grüße.txt", content="hällo\nwörld")
    [output] = done.outputs
    assert output.name == "grüße.txt"
    assert output.path.read_text(encoding="utf-8") == "hällo\nwörld"
    assert done.result == {"size_bytes": 13, "lines": 2}


@pytest.mark.parametrize(
    ("content", "repeat", "lines"), [("", 5, 0), ("a", 3, 1), ("a\n", 3, 3), ("a\nb", 2, 3), ("\n", 1, 1)]
)
def test_lines_are_counted_as_an_editor_does(attempts, content, repeat, lines):
    done = attempts.run(write, name="a", content=content, repeat=repeat)
    assert done.output.read_text() == content * repeat
    assert done.result == {"size_bytes": len(content) * repeat, "lines": lines}


def test_a_large_file_is_written_in_pieces_with_progress_and_flat_memory(attempts):
    tracemalloc.start()
    done = attempts.run(write, name="big.txt", content="0123456789abcde\n", repeat=1_000_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.output.stat().st_size == 16_000_000
    assert len(done.notes) == 16_000_000 // PIECE_BYTES + 1
    assert done.notes[-1] == ProgressNote(1.0, "")
    assert peak_bytes < 4 * PIECE_BYTES


def test_more_than_a_disk_should_hold_is_refused(attempts):
    fail = attempts.refusal(write, name="big.txt", content="x" * 100_000, repeat=1_000_000)
    assert fail.code == "too_large"
    assert str(fail) == "the file would have 100,000,000,000 bytes, and at most 10,737,418,240 are written"


@pytest.mark.parametrize("name", ["", "a/b", "..\\b", "a\0b", "a\nb", "x" * 256])
def test_a_name_that_is_a_path_is_refused(name):
    with pytest.raises(InvalidParamsError, match=r"params\.name"):
        write.check_params({"name": name, "content": ""})


# ---- a template

REPORT = """Invoice for {{ customer.name }}
{% for item in items %}{{ "%-10s" | format(item.what) }}{{ "%8.2f" % item.price }}
{% endfor %}Total: {{ items | sum(attribute="price") }}
"""


def test_a_report_is_made_of_a_template_and_its_data(attempts):
    data = {"customer": {"name": "Ann & Co"}, "items": [{"what": "apples", "price": 2.5}, {"what": "tea", "price": 4}]}
    done = attempts.run(write, name="invoice.txt", template=REPORT, data=data)
    assert done.output.read_text() == "Invoice for Ann & Co\napples        2.50\ntea           4.00\nTotal: 6.5\n"
    assert done.result["lines"] == 4


def test_values_are_escaped_for_html_when_asked(attempts):
    done = attempts.run(write, name="a.html", template="<b>{{ x }}</b>", data={"x": "<script>"}, html=True)
    assert done.output.read_text() == "<b>&lt;script&gt;</b>"


def test_the_rows_of_an_input_file_are_streamed_through_the_template(attempts):
    lines = "".join(json.dumps({"n": number}) + "\n" for number in range(60_000)).encode()
    template = "{% for row in rows %}{{ row.n }}:{{ '.' * 150 }}\n{% endfor %}"
    file = attempts.file(lines, "rows.jsonl")
    tracemalloc.start()
    done = attempts.run(write, file, name="out.txt", template=template)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done.result["lines"] == 60_000
    assert done.output.stat().st_size > 9_000_000
    assert peak_bytes < 6 * PIECE_BYTES


ATTACKS = {
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": "template_forbidden",
    "{{ ''['__class__'] }}": "template_forbidden",
    "{{ x | attr('__class__') }}": "template_forbidden",
    "{{ self.__init__.__globals__ }}": "template_forbidden",
    "{{ range.__call__.__self__ }}": "template_forbidden",
    "{{ '{0.__class__}'.format(x) }}": "template_forbidden",
    "{{ '{a.__class__}'.format_map({'a': x}) }}": "template_forbidden",
    "{{ xs.append(1) }}": "template_forbidden",
    "{{ 'x' * 10000000000 }}": "template_forbidden",
    "{{ 9 ** 9999999999 }}": "template_forbidden",
    "{{ '%9999999999d' % 1 }}": "template_forbidden",
    "{{ range(1000000000) | list }}": "template_failed",
    "{% include '/etc/passwd' %}": "template_failed",
    "{% import 'os' as os %}": "template_failed",
    "{{ cycler }}": "template_data_missing",
    "{{ nobody.knows }}": "template_data_missing",
    "{{ 1 / 0 }}": "template_failed",
    "{% for %}": "invalid_template",
    "{{ x ": "invalid_template",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "template_failed",
}


@pytest.mark.parametrize(("template", "code"), ATTACKS.items())
def test_a_template_reaches_nothing_but_its_data(attempts, template, code):
    fail = attempts.refusal(write, name="a", template=template, data={"x": 1, "xs": []})
    assert fail.code == code, str(fail)
    assert "\n" not in str(fail)


def test_a_template_that_never_ends_stops_at_the_limit(attempts, monkeypatch):
    monkeypatch.setattr(text_module, "MAX_BYTES", 3 * PIECE_BYTES)
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}"
    assert attempts.refusal(write, name="a", template=endless).code == "too_large"


@pytest.mark.parametrize("params", [{}, {"content": "a", "template": "b"}, {"content": "a", "data": {}}])
def test_either_a_content_or_a_template_is_wanted(attempts, params):
    assert attempts.refusal(write, name="a", **params).code == "content_or_template"


def test_rows_that_are_not_json_are_told_by_their_line(attempts):
    file = attempts.file(b'{"a": 1}\n\nnonsense\n', "rows.jsonl")
    fail = attempts.refusal(write, file, name="a", template="{% for row in rows %}{{ row.a }}{% endfor %}")
    assert (fail.code, "line 3 of 'rows.jsonl'" in str(fail)) == ("invalid_json_lines", True)


# ---- text.stats


def counted(attempts, content, **params):
    [file] = attempts.run(stats, attempts.file(content), **params).result["files"]
    return file


def test_a_real_file_is_counted(attempts):
    [file] = attempts.run(stats, attempts.sample(SAMPLES / "iris.csv")).result["files"]
    content = (SAMPLES / "iris.csv").read_text()
    assert file["lines"] == len(content.splitlines()) == 151
    assert (file["characters"], file["words"]) == (len(content), len(content.split()))
    assert (file["encoding"], file["encoding_is_certain"], file["ends_with_line_end"]) == ("ascii", True, True)


@pytest.mark.parametrize(
    ("content", "kind", "lines"),
    [
        (b"", "none", 0), (b"a", "none", 1), (b"a\nb\n", "lf", 2), (b"a\r\nb", "crlf", 2), (b"a\rb\r", "cr", 2),
        (b"a\nb\r\nc\r", "mixed", 3), (b"\r\n\r\n", "crlf", 2), (b"\r", "cr", 1),
    ],
)  # fmt: skip
def test_line_ends_are_told_apart(attempts, content, kind, lines):
    file = counted(attempts, content) if content else counted(attempts, content, encoding="utf-8")
    assert (file["line_ends"], file["lines"]) == (kind, lines)


def test_lines_words_and_line_ends_across_pieces_are_counted_once(attempts, monkeypatch):
    content = "ä word\r\n\r\n  \nlonger line hére\r\n" * 50
    whole = counted(attempts, content.encode())
    monkeypatch.setattr("service.catalogue.text.encoding.PIECE_BYTES", 3)
    assert counted(attempts, content.encode()) == whole
    assert (whole["words"], whole["lines"], whole["blank_lines"]) == (250, 200, 100)
    assert (whole["longest_line_characters"], whole["line_end_counts"]) == (16, {"lf": 50, "crlf": 150, "cr": 0})


@pytest.mark.parametrize(
    ("codec", "name", "certain", "marked"),
    [
        ("utf-8", "utf-8", True, False), ("utf-8-sig", "utf-8", True, True), ("utf-16", "utf-16-le", True, True),
        ("utf-16-be", "utf-16-be", False, False), ("utf-32", "utf-32-le", True, True),
        ("windows-1252", "windows-1252", False, False),
    ],
)  # fmt: skip
def test_the_encoding_is_told(attempts, codec, name, certain, marked):
    text = "Voilà: garçons, façade, l'été, über Ärger und Öl. " * 40
    file = counted(attempts, text.encode(codec))
    assert (file["encoding"], file["encoding_is_certain"], file["has_byte_order_mark"]) == (name, certain, marked)
    assert file["characters"] == len(text)


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1250", "Zażółć gęślą jaźń. Wczoraj byłem w Łodzi, a dziś jestem w Krakowie."),
        ("cp1251", "Съешь же ещё этих мягких французских булок, да выпей чаю."),
        ("shift_jis", "名前,年齢\n田中太郎,25\nこんにちは世界\n"),
        ("gb18030", "姓名,年龄\n张三,二十五\n你好世界今天天气很好\n"),
    ],
)
def test_old_encodings_are_guessed_by_their_letters(attempts, codec, text):
    assert counted(attempts, (text * 5).encode(codec))["encoding"] == codec


def test_a_text_that_was_cut_off_amid_a_character_is_still_counted(attempts):
    file = counted(attempts, "größe".encode()[:-1] + "ß".encode()[:1])
    assert (file["encoding"], file["encoding_is_certain"], file["undecodable_characters"]) == ("utf-8", False, 1)


def test_binary_data_is_refused(attempts):
    for content in (b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(range(1, 32)) * 50):
        fail = attempts.refusal(stats, attempts.file(content, "a.txt"))
        assert fail.code == "not_text"


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13", "a\0b"])
def test_an_unknown_encoding_is_refused(attempts, encoding):
    assert attempts.refusal(stats, attempts.file(b"abc"), encoding=encoding).code == "unknown_encoding"
