"""`service.testing`: what a processor's author writes tests with."""

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from service import Fail, JobContext, Retry, processor, testing
from service.errors import FileCountError, InvalidParamsError, MediaTypeNotAcceptedError, ProcessorUnavailableError
from service.testing import arun_processor, open_app, run_processor
from tests.fakes import plain_environment
from tests.integration import own_processors as own

OWN = own.__file__


# ---- one processor


def test_a_processor_runs_on_files_given_inline():
    run = run_processor(own.count, {"a.txt": "one two\nthree\n", "b.txt": b"four"}, {"unit": "lines"})
    assert run.result == {"a.txt": 2, "b.txt": 1}
    assert [(note.fraction, note.message) for note in run.progress] == [(0.5, "a.txt"), (1.0, "b.txt")]
    assert [(note.message, note.fields) for note in run.logs] == [
        ("counted", {"name": "a.txt"}),
        ("counted", {"name": "b.txt"}),
    ]


def test_a_processor_runs_on_files_of_the_disk_and_leaves_them_alone(tmp_path):
    path = tmp_path / "three.txt"
    path.write_text("a\nb\nc\n")
    run = run_processor(own.split, [path], {"every": 2})
    assert run.outputs == {"part.txt": b"a\nb\n", "part-2.txt": b"c\n"}
    assert run.result == 2
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_is_checked_as_a_submission_is():
    with pytest.raises(InvalidParamsError, match=r"params\.unit"):
        run_processor(own.count, {"a.txt": "one"}, {"unit": "pages"})
    with pytest.raises(FileCountError):
        run_processor(own.count)
    with pytest.raises(MediaTypeNotAcceptedError):
        run_processor(own.count, {"a.txt": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"})

    @processor("own.absent", min_files=0, extra="pdf", requires=["nothing_of_that_name"])
    def absent(job: JobContext) -> None:
        """Do nothing."""

    with pytest.raises(ProcessorUnavailableError, match=r'pip install "filemill\[pdf\]"'):
        run_processor(absent)


def test_what_the_processor_raises_is_raised():
    with pytest.raises(Fail, match="it cannot be") as caught:
        run_processor(own.moody, params={"mood": "fail"})
    assert caught.value.code == "impossible"
    with pytest.raises(Retry):
        run_processor(own.moody, params={"mood": "retry"})
    assert run_processor(own.moody, params={"mood": "retry"}, attempt=2).result == 2
    assert run_processor(own.moody, params={"mood": "snooze"}, metadata={"woken": True}).result == 1


@pytest.mark.parametrize(("mood", "code"), [("forget", "missing_output"), ("lie", "invalid_result")])
def test_what_a_server_would_not_take_fails(mood, code):
    with pytest.raises(Fail) as caught:
        run_processor(own.moody, params={"mood": mood})
    assert caught.value.code == code


@pytest.mark.parametrize("one", [own.total, own.total_on_loop])
def test_dependencies_are_given_and_closed(one):
    run = run_processor(one, params={"names": ["tea", "milk"]})
    assert run.result == [4, "EUR"]
    assert [note.message for note in run.logs] == ["closed"]


@pytest.mark.parametrize("one", [own.total, own.total_on_loop])
async def test_dependencies_are_given_under_a_running_loop(one):
    run = await arun_processor(one, params={"names": ["tea"]})
    assert (run.result, [note.message for note in run.logs]) == ([3, "EUR"], ["closed"])


def test_a_dependency_may_be_replaced():
    def free():
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.execute("create table prices as select 'tea' as name, 0 as price")
        yield connection
        connection.close()

    run = run_processor(
        own.total, params={"names": ["tea"]}, overrides={own.database: free, own.currency: lambda: "GBP"}
    )
    assert (run.result, run.logs) == ([0, "GBP"], [])


@pytest.mark.parametrize("one", [own.total, own.total_on_loop])
async def test_a_running_loop_asks_for_the_other_function(one):
    with pytest.raises(RuntimeError, match="await arun_processor"):
        run_processor(one, params={"names": []})


async def test_a_def_runs_under_a_running_loop_all_the_same():
    assert run_processor(own.count, {"a.txt": "one"}).result == {"a.txt": 1}


def test_the_example_of_the_documentation_runs(tmp_path):
    example = textwrap.dedent(str(testing.__doc__).partition(":\n\n")[2])
    (tmp_path / "test_words.py").write_text(example)
    (tmp_path / "words.py").write_text(Path(OWN).read_text().replace("own.", "text."))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nfilterwarnings = error\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    ]
    ran = subprocess.run(command, cwd=tmp_path, env=plain_environment(), capture_output=True, text=True, check=False)
    assert "2 passed" in ran.stdout, ran.stdout


# ---- a whole service


async def test_a_service_in_the_test_runs_jobs_in_children_and_on_the_loop():
    async with open_app(OWN) as app:
        jobs = [
            await app.submit("own.count", {"a.txt": "one two"}),
            await app.submit("own.total", params={"names": ["tea", "milk"]}),
            await app.submit("own.total_on_loop", params={"names": ["milk"]}),
        ]
        await app.drain()
        ended = [(await app.get(job["links"]["self"])).json() for job in jobs]
    assert [job["state"] for job in ended] == ["succeeded"] * 3
    assert [job["result"] for job in ended] == [{"a.txt": 2}, [4, "EUR"], [1, "EUR"]]
    assert ended[0]["progress"] == {"fraction": 1.0, "message": "a.txt"}


async def test_drain_moves_the_clock_to_what_is_to_run_later():
    async with open_app(OWN) as app:
        jobs = [
            await app.submit("own.moody", params={"mood": "retry"}),
            await app.submit("own.moody", params={"mood": "snooze"}, priority=1),
            await app.submit("own.count", {"a.txt": "one"}, run_after="2100-01-01T00:00:00Z"),
            await app.submit("own.moody", params={"mood": "fail"}),
        ]
        await app.drain()
        ended = [(await app.get(job["links"]["self"])).json() for job in jobs]
    assert [(job["state"], job["attempt"]) for job in ended[:1] + ended[2:]] == [
        ("succeeded", 2),
        ("succeeded", 1),
        ("failed", 1),
    ]
    assert ended[1]["state"] == "succeeded"
    assert ended[2]["started_at"] >= "2100"
    assert ended[3]["error"]["code"] == "impossible"


async def test_drain_names_what_does_not_end(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(
        "import asyncio\nfrom service import JobContext, processor\n\n"
        "@processor('slow', min_files=0)\nasync def slow(job: JobContext) -> None:\n"
        "    '''Wait for ever.'''\n    await asyncio.Event().wait()\n"
    )
    async with open_app([path, OWN], data_dir=tmp_path / "data") as app:
        job = await app.submit("slow")
        with pytest.raises(TimeoutError, match=rf"{job['id']} \(slow, running\)"):
            await app.drain(0.5)


async def test_a_refused_submission_is_an_assertion_with_the_problem(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    async with open_app(OWN, max_files=1) as app:
        with pytest.raises(AssertionError, match="invalid_params"):
            await app.submit("own.count", [path], {"unit": "pages"})
        with pytest.raises(AssertionError, match="wrong_file_count"):
            await app.submit("own.count")
        assert (await app.get("/v1/jobs")).json()["items"] == []


async def test_the_environment_does_not_leak_into_the_service(monkeypatch):
    monkeypatch.setenv("FILEMILL_PROCESSORS", "nothing_of_that_name")
    async with open_app() as app:
        names = [one["name"] for one in (await app.get("/v1/processors")).json()["items"]]
    assert "file.checksum" in names
    assert asyncio.all_tasks() == {asyncio.current_task()}
