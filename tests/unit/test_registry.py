"""The registry: which processors there are, and how loading them fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import ProcessorLoadError, UnknownProcessorError
from service.processors.registry import absolute, load_registry
from service.testing import open_app

ROOT = Path(__file__).parents[2]

MODULE = """
from service import JobContext, processor

@processor("{name}")
def function(job: JobContext) -> None:
    '''Do nothing.'''
"""

NO_TYPE = """
from service import JobContext, processor

@processor("my.count")
def count(job: JobContext, unit):
    '''Count.'''
"""
BARE = """
from service import JobContext, processor

@processor
def count(job: JobContext) -> None:
    '''Count.'''
"""
NEIGHBOURLY = """
from neighbour_of_words import GREETING

from service import JobContext, processor

@processor("my.greeting")
def greeting(job: JobContext) -> str:
    '''Greet.'''
    import neighbour_of_words

    return neighbour_of_words.GREETING
"""
NO_SCHEMA = NO_TYPE.replace("unit)", "unit: type(JobContext.log))")


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
    assert registry["image.thumbnail"].lane == "child"


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
    path.write_text("from service.catalogue.image.processors import thumbnail\n")
    assert "image.thumbnail" in load_registry(str(path))


def test_two_processors_of_one_name_are_refused_with_the_places_of_both(module):
    both = r"two processors are called 'file\.checksum'.*processors\.py:\d+, .*twice\.py:4$"
    with pytest.raises(ProcessorLoadError, match=both):
        load_registry(module("twice.py", "file.checksum"))


def test_a_file_that_is_named_twice_is_told_as_that(module):
    place = module("mine.py", "my.own")
    with pytest.raises(ProcessorLoadError, match=r"'my\.own' at .*mine\.py:4 was loaded twice; name its module once"):
        load_registry(f"{place},{place}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_that_name", r"ModuleNotFoundError: .*nothing_of_that_name.* \(.*broken\.py:1\)"),
        ("\n\n1 / 0", r"ZeroDivisionError: division by zero \(.*broken\.py:3\)"),
        ("x = = 1", r"SyntaxError: invalid syntax .*broken\.py"),
        (MODULE.format(name="Not A Name"), r"ValueError: 'Not A Name' is not a processor name.* \(.*broken\.py:4\)"),
        ("import re\n\nre.compile('(')", r"missing \), unterminated subpattern at position 0 \(.*broken\.py:3\)"),
        ("import sys\nsys.exit('no')", r"SystemExit: no \(.*broken\.py:2\)"),
        ("\nraise KeyboardInterrupt('no')", r"KeyboardInterrupt: no \(.*broken\.py:2\)"),
        (NO_TYPE, r"TypeError: my\.count: give the parameter 'unit' a type \(.*broken\.py:4\)"),
        (NO_SCHEMA, r"TypeError: my\.count: the type of 'unit' cannot be a param: .* \(.*broken\.py:4\)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_its_line(tmp_path, source, message):
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(ProcessorLoadError, match=message) as caught:
        load_registry(str(tmp_path / "broken.py"))
    assert "\n" not in caught.value.detail


def test_a_module_of_the_working_folder_is_found(module, tmp_path, monkeypatch):
    (tmp_path / "shop").mkdir()
    module("shop/pictures_of_the_shop.py", "my.picture")
    monkeypatch.chdir(tmp_path)
    assert "my.picture" in load_registry("shop.pictures_of_the_shop")


async def test_a_file_finds_its_neighbours_here_and_in_the_children(tmp_path):
    (tmp_path / "neighbour_of_words.py").write_text("GREETING = 'hello'\n")
    (tmp_path / "words_with_neighbour.py").write_text(NEIGHBOURLY)
    async with open_app(tmp_path / "words_with_neighbour.py") as app:
        job = await app.submit("my.greeting", {"a.txt": "a"})
        await app.drain()
        assert (await app.get(job["links"]["self"])).json()["result"] == "hello"


def test_a_file_beside_mine_hides_nothing_that_is_installed(module, tmp_path):
    (tmp_path / "pyvips.py").write_text("1 / 0")
    load_registry(module("mine_beside_pyvips.py", "my.file"))
    assert sys.path[-1] == str(tmp_path)


def test_a_decorator_that_is_not_called_is_named_with_its_line(tmp_path):
    (tmp_path / "bare.py").write_text(BARE)
    with pytest.raises(ProcessorLoadError, match=r"TypeError: write @processor\(\"its\.name\"\).* \(.*bare\.py:4\)"):
        load_registry(str(tmp_path / "bare.py"))


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
    with pytest.raises(UnknownProcessorError, match=r"there are archive\.create, .*file\.checksum, "):
        registry.get_named("§" * 10_000)


def test_loading_the_catalogue_loads_no_large_library():
    code = "import sys; from service.processors.registry import load_registry; load_registry(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"av", "pyvips", "duckdb", "jinja2", "httpx", "pypdfium2", "fastapi", "sqlalchemy"} & set(
        modules.stdout.split()
    )


def test_the_paths_of_files_are_those_of_the_folder_of_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("pkg.module, ./mine.py,/other.py") == f"pkg.module,{tmp_path}/mine.py,/other.py"
    assert absolute("") == ""
