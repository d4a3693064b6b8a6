"""The registry: which processors there are, and how loading them fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import ProcessorLoadError, UnknownProcessorError
from service.processors.registry import load_registry

ROOT = Path(__file__).parents[2]

MODULE = """
from service import JobContext, processor

@processor("{name}")
def function(job: JobContext) -> None:
    '''Do nothing.'''
"""


@pytest.fixture
def module(tmp_path):
    """Return a function that writes a module with one processor and returns its path."""

    def write(file_name, name):
        path = tmp_path / file_name
        path.write_text(MODULE.format(name=name))
        return str(path)

    return write


def test_the_catalogue_is_there_in_order_of_names():
    registry = load_registry()
    assert list(registry) == sorted(registry)
    assert {"file.checksum", "image.thumbnail", "text.write"} <= set(registry)
    assert {name: registry[name].lane for name in ("image.thumbnail", "text.write")} == {
        "image.thumbnail": "child",
        "text.write": "loop",
    }


def test_every_processor_of_the_catalogue_describes_itself():
    for one in load_registry().values():
        assert one.summary.endswith(".")
        assert "\n" not in one.summary
        for name, schema in one.params_schema["properties"].items():
            assert schema["description"], f"{one.name}: {name}"


def test_files_and_modules_are_added_and_blanks_ignored(module, tmp_path, monkeypatch):
    module("mine_as_module.py", "my.module")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = load_registry(f" mine_as_module , ,{module('mine_as_file.py', 'my.file')},")
    assert {"my.module", "my.file"} <= set(registry)


def test_a_processor_imported_by_another_module_is_no_duplicate(tmp_path):
    path = tmp_path / "again.py"
    path.write_text("from service.processors.image import thumbnail\n")
    assert "image.thumbnail" in load_registry(str(path))


def test_two_processors_of_one_name_are_refused(module):
    with pytest.raises(ProcessorLoadError, match=r"two processors are called 'text\.write'"):
        load_registry(module("twice.py", "text.write"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_that_name", r"ModuleNotFoundError: .*nothing_of_that_name.* \(.*broken\.py:1\)"),
        ("\n\n1 / 0", r"ZeroDivisionError: division by zero \(.*broken\.py:3\)"),
        ("x = = 1", r"SyntaxError: invalid syntax .*broken\.py"),
        (MODULE.format(name="Not A Name"), r"ValueError: 'Not A Name' is not a processor name"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_its_line(tmp_path, source, message):
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(ProcessorLoadError, match=message):
        load_registry(str(tmp_path / "broken.py"))


@pytest.mark.parametrize("place", ["nowhere.py", "nothing_of_that_name.module"])
def test_a_place_that_does_not_exist_is_named(place):
    with pytest.raises(ProcessorLoadError, match=place):
        load_registry(place)


def test_an_unknown_name_is_answered_with_those_that_come_nearest():
    registry = load_registry()
    assert registry.find("image.thumbnail") is registry.get_named("image.thumbnail")
    assert registry.find("image.thumbnial") is None
    with pytest.raises(UnknownProcessorError, match=r"'image\.thumbnial'; did you mean image\.thumbnail"):
        registry.get_named("image.thumbnial")
    with pytest.raises(UnknownProcessorError, match=r"there are file\.checksum, image\.thumbnail, "):
        registry.get_named("§" * 10_000)


def test_loading_the_catalogue_loads_no_large_library():
    code = "import sys; from service.processors.registry import load_registry; load_registry(); print(*sys.modules)"
    modules = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"pyvips", "polars", "pypdfium2", "fastapi", "sqlalchemy"} & set(modules.stdout.split())
