import hashlib
import io
import os
import resource
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from service.client import (
    AsyncFilemill,
    DamagedDownloadError,
    File,
    Filemill,
    ProblemError,
    ServerUnreachableError,
    Source,
    UnsendableError,
    WaitTimeoutError,
    bare_name,
)
from service.client.calls import job_call, jobs_call, submit_call
from service.errors import FieldError, SettingsError
from service.states import State

NOW = "2026-01-02T03:04:05Z"
URL = "http://filemill.test"


def file_json(**changes):
    content = b"content"
    return {
        "id": "f1", "name": "photo.jpg", "media_type": "image/jpeg", "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(), "created_at": NOW, "links": {},
    } | changes  # fmt: skip


def job_json(**changes):
    return {
        "id": "j1", "processor": "text.count", "params": {}, "state": "queued", "priority": 0,
        "progress": {"fraction": 0.0, "message": ""}, "attempt": 0, "max_attempts": 3, "timeout_s": 600.0,
        "created_at": NOW, "run_after": NOW, "started_at": None, "finished_at": None, "inputs": [],
        "outputs": [], "result": None, "error": None, "metadata": {}, "links": {},
    } | changes  # fmt: skip


class FakeClock:
    def __init__(self):
        self.seconds = 0.0
        self.slept: list[float] = []

    def now(self):
        return datetime.now(UTC)

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.seconds += seconds


def client(answer, clock=None):
    clock = clock or FakeClock()
    return Filemill(URL, transport=httpx.MockTransport(answer), clock=clock, sleep=clock.sleep)


def always(status, body=None, **options):
    return client(lambda _request: httpx.Response(status, json=body, **options))


# ---- calls


def test_a_submission_without_files_is_json():
    call = submit_call({"processor": "a.b", "params": {"x": 1}, "priority": None}, with_files=False)
    assert (call.method, call.path, call.body, call.form) == (
        "POST", "/v1/jobs", {"processor": "a.b", "params": {"x": 1}}, None,
    )  # fmt: skip


def test_a_submission_with_files_is_a_form_whose_objects_are_json():
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    fields = {"processor": "a.b", "params": {"x": "é"}, "priority": 3, "run_after": moment}
    call = submit_call(fields, with_files=True)
    assert call.body is None
    assert call.form == {
        "processor": "a.b", "params": '{"x": "\\u00e9"}', "priority": "3", "run_after": "2030-01-01T00:00:00+00:00",
    }  # fmt: skip


def test_a_wish_to_wait_is_in_whole_seconds_and_makes_the_client_patient():
    call = job_call("j1", wait_s=2.1)
    assert (call.headers, call.patience_s) == ({"Prefer": "wait=3"}, 2.1)
    assert job_call("j1", wait_s=0).headers == {}


def test_an_id_cannot_change_the_path():
    assert job_call("../files?x=1#").path == "/v1/jobs/..%2Ffiles%3Fx%3D1%23"


def test_a_page_is_never_larger_than_what_is_wanted():
    assert jobs_call({}, limit=7).query == {"limit": "7"}
    assert jobs_call({"state": State.FAILED}, limit=1000, cursor="c").query == {
        "state": "failed", "limit": "100", "cursor": "c",
    }  # fmt: skip


# ---- refusals


def test_problem_details_become_an_error_with_all_they_say():
    body = {
        "type": "about:blank", "status": 422, "title": "No fit", "detail": "width is wrong", "code": "invalid_params",
        "errors": [{"field": "params.width", "code": "int_type", "message": "not a number"}],
    }  # fmt: skip
    with pytest.raises(ProblemError, match="width is wrong") as caught:
        always(422, body).get("j1")
    error = caught.value
    assert (error.status, error.code, error.title) == (422, "invalid_params", "No fit")
    assert error.errors == (FieldError("params.width", "int_type", "not a number"),)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, text="<h1>Bad gateway</h1>"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(404, json=["odd"]),
        httpx.Response(307, headers={"Location": "http://elsewhere.test/"}),
        httpx.Response(200, text="<h1>It works!</h1>"),
        httpx.Response(200, json={"hello": "world"}),
        httpx.Response(200, json=job_json(state="unheard-of")),
        httpx.Response(200, content=b"[" * 100_000),
    ],
    ids=["proxy", "other api", "array", "redirect", "web page", "other json", "unknown state", "deep"],
)
def test_the_answer_of_another_program_is_told_as_such(response):
    with pytest.raises(ProblemError, match="not as a Filemill server would; is the URL right") as caught:
        client(lambda _request: response).get("j1")
    assert caught.value.code == "unexpected_answer"


def test_a_server_that_is_not_there_is_named_with_the_way_to_start_one(unused_tcp_port):
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with Filemill(url) as mill, pytest.raises(ServerUnreachableError, match=f"{url} .*`filemill serve`.*FILEMILL_URL"):
        mill.get("j1")


def test_a_connection_that_breaks_is_told_as_such():
    def answer(_request):
        raise httpx.ReadError("reset by peer")

    with pytest.raises(ServerUnreachableError, match=r"the connection to http://filemill\.test broke: reset by peer"):
        client(answer).get("j1")


def test_an_answer_that_is_not_packed_as_it_says_is_told_as_such():
    answer = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"not packed"))
    with pytest.raises(ServerUnreachableError, match=r"the answer of http://filemill\.test cannot be read: "):
        client(lambda _request: answer).get("j1")


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000", "ftp://a.test", "http://", "", "http://a.test:port", "http://a..b", f"http://{'a' * 64}.test",
        "http://xn--.test",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused_before_anything_is_sent(url):
    with pytest.raises(SettingsError, match="FILEMILL_URL"):
        Filemill(url)


@pytest.mark.parametrize(("name", "value"), [("ALL_PROXY", "odd://proxy.test"), ("SSL_CERT_FILE", "/nowhere")])
@pytest.mark.parametrize("kind", [Filemill, AsyncFilemill])
def test_a_variable_of_the_http_library_that_is_of_no_use_is_named(kind, name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        kind("https://filemill.test")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.2", "[::1]", "0.0.0.0", "[::]"],  # noqa: S104 - nothing listens
)
def test_a_proxy_has_nothing_to_do_with_a_server_on_this_machine(host, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "odd://proxy.test")
    Filemill(f"http://{host}:8000").close()


@pytest.mark.parametrize(
    ("processor", "params", "key"),
    [("odd-\udcff", {}, None), ("a.b", {"x": float("nan")}, None), ("a.b", {}, "schlüssel")],
    ids=["name", "params", "key"],
)
def test_what_cannot_be_sent_is_told_as_such(processor, params, key):
    with pytest.raises(UnsendableError, match=r"^the request cannot be sent: "):
        always(202, job_json()).submit(processor, params=params, idempotency_key=key)


def test_an_empty_id_is_not_sent_as_the_address_of_the_list():
    with pytest.raises(UnsendableError, match="empty"):
        always(200, {"items": [], "next_cursor": None}).get("")


# ---- submit


def test_files_go_out_under_their_bare_names_after_the_fields(tmp_path):
    seen = {}

    def answer(request):
        seen["type"], seen["body"] = request.headers["content-type"], request.read()
        seen["length"] = int(request.headers["content-length"])
        return httpx.Response(202, json=job_json())

    path = tmp_path / "notes.txt"
    path.write_bytes(b"hello")
    job = client(answer).submit("text.count", [path], {"unit": "words"}, priority=5)
    assert job.state is State.QUEUED
    assert seen["type"].startswith("multipart/form-data")
    assert seen["length"] == len(seen["body"])
    assert b'name="file"; filename="notes.txt"' in seen["body"]
    assert seen["body"].index(b'name="processor"') < seen["body"].index(b"hello")
    assert str(tmp_path).encode() not in seen["body"]


def test_an_upload_tells_how_far_it_is(tmp_path):
    def answer(request):
        request.read()
        return httpx.Response(202, json=job_json())

    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(300_000))
    told: list[tuple[int, int | None]] = []
    client(answer).submit("text.count", [path, path], on_progress=lambda *step: told.append(step))
    assert told[-1] == (600_000, 600_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 8, "it was read in one piece"


def test_a_stream_is_sent_in_chunks_because_nobody_knows_its_length():
    def answer(request):
        assert request.headers["transfer-encoding"] == "chunked"
        assert b"from a pipe" in request.read()
        return httpx.Response(202, json=job_json())

    client(answer).submit("text.count", [Source("stdin", io.BytesIO(b"from a pipe"))])


def test_a_file_that_grows_while_it_is_sent_is_sent_as_it_was(tmp_path):
    path = tmp_path / "server.log"
    path.write_bytes(b"A" * 200_000)

    def grow(_done, _total):
        with path.open("ab") as file:
            file.write(b"B")

    def answer(request):
        body = request.read()
        assert len(body) == int(request.headers["content-length"])
        assert b"A" * 200_000 + b"\r\n" in body
        return httpx.Response(202, json=job_json())

    client(answer).submit("text.count", [path], on_progress=grow)


def test_a_file_that_is_not_there_is_an_ordinary_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        always(202, job_json()).submit("text.count", [tmp_path / "missing"])


def test_the_idempotency_key_and_the_wish_to_wait_are_headers():
    def answer(request):
        assert (request.headers["idempotency-key"], request.headers["prefer"]) == ("k1", "wait=5")
        return httpx.Response(202, json=job_json())

    client(answer).submit("text.count", idempotency_key="k1", wait_s=5)


# ---- get, list, wait


def test_a_job_is_read_with_its_files_and_instants():
    body = job_json(state="succeeded", finished_at=NOW, outputs=[file_json()], brand_new_field=1)
    job = always(200, body).get("j1")
    assert job.is_finished
    assert job.finished_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert [file.name for file in job.outputs] == ["photo.jpg"]
    assert job.raw["brand_new_field"] == 1


def pages(request):
    """Three pages of two jobs."""
    start = int(request.url.params.get("cursor", 0))
    size = min(int(request.url.params["limit"]), 2)
    items = [job_json(id=f"j{number}") for number in range(start, min(start + size, 6))]
    following = start + size
    return httpx.Response(200, json={"items": items, "next_cursor": str(following) if following < 6 else None})


def test_a_list_goes_on_over_all_pages():
    assert [job.id for job in client(pages).list()] == ["j0", "j1", "j2", "j3", "j4", "j5"]


def test_a_list_ends_at_its_limit():
    assert [job.id for job in client(pages).list(limit=3)] == ["j0", "j1", "j2"]


def test_a_list_of_files_goes_on_over_all_pages_and_ends_at_its_limit():
    asked = []

    def files(request):
        asked.append(dict(request.url.params))
        start = int(request.url.params.get("cursor", 0))
        items = [file_json(id=f"f{number}") for number in range(start, start + 2)]
        return httpx.Response(200, json={"items": items, "next_cursor": str(start + 2) if start < 4 else None})

    moment = datetime(2030, 1, 1, tzinfo=UTC)
    assert [one.id for one in client(files).files(unused=True, created_after=moment)] == [f"f{n}" for n in range(6)]
    assert asked[1] == {
        "unused": "true", "created_after": "2030-01-01T00:00:00+00:00", "limit": "100", "cursor": "2",
    }  # fmt: skip
    assert [one.id for one in client(files).files(limit=2)] == ["f0", "f1"]


def test_a_file_is_deleted_by_its_id():
    asked = []

    def gone(request):
        asked.append((request.method, request.url.path))
        return httpx.Response(204)

    client(gone).delete_file("f1")
    assert asked == [("DELETE", "/v1/files/f1")]
    with pytest.raises(ProblemError, match="not there"):
        always(404, {"status": 404, "title": "No", "detail": "not there", "code": "file_not_found"}).delete_file("f1")


def test_a_list_asks_for_a_page_only_when_it_is_needed():
    asked = []

    def answer(request):
        asked.append(request)
        return pages(request)

    next(client(answer).list())
    assert len(asked) == 1


def test_waiting_asks_again_until_the_job_has_finished():
    clock, states = FakeClock(), iter(["queued", "running", "failed"])

    def answer(request):
        assert request.headers["prefer"] == "wait=30"
        clock.seconds += 30
        return httpx.Response(200, json=job_json(state=next(states)))

    assert client(answer, clock).wait("j1").state is State.FAILED
    assert clock.slept == []


def test_waiting_ends_in_time_with_the_job_as_it_stood():
    clock, wishes = FakeClock(), []

    def answer(request):
        wishes.append(request.headers.get("prefer"))
        clock.seconds += float(request.headers["prefer"].removeprefix("wait="))
        return httpx.Response(200, json=job_json(state="running"))

    with pytest.raises(WaitTimeoutError, match="job j1 is still running after 70 s; it goes on") as caught:
        client(answer, clock).wait("j1", timeout_s=70)
    assert wishes == ["wait=30", "wait=30", "wait=10"]
    assert caught.value.job.state is State.RUNNING


def test_waiting_does_not_storm_a_server_that_answers_at_once():
    clock, states = FakeClock(), iter(["queued"] * 3 + ["succeeded"])
    client(lambda _request: httpx.Response(200, json=job_json(state=next(states))), clock).wait("j1")
    assert clock.slept == [0.5, 0.5, 0.5]


def test_who_watches_hears_of_the_job_while_it_runs():
    clock, states, heard = FakeClock(), iter(["queued", "running", "succeeded"]), []

    def answer(request):
        assert request.headers["prefer"] == "wait=1"
        clock.seconds += 1
        return httpx.Response(200, json=job_json(state=next(states)))

    client(answer, clock).wait("j1", on_update=lambda job: heard.append(job.state.value))
    assert heard == ["queued", "running"]


# ---- download


def serving(content=b"content", **changes):
    def answer(request):
        if request.url.path.endswith("/content"):
            return httpx.Response(200, content=content)
        return httpx.Response(200, json=file_json(**changes))

    return client(answer)


def test_a_download_into_a_folder_has_the_name_of_the_file(tmp_path):
    path = serving().download("f1", tmp_path)
    assert path == tmp_path / "photo.jpg"
    assert path.read_bytes() == b"content"


def test_a_download_to_a_path_has_that_name_and_tells_how_far_it_is(tmp_path):
    told = []
    path = serving().download("f1", tmp_path / "mine.jpg", on_progress=lambda *step: told.append(step))
    assert path.name == "mine.jpg"
    assert told == [(7, 7)]


def test_a_download_never_takes_the_place_of_a_file_unless_told(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        serving().download("f1", tmp_path)
    assert (tmp_path / "photo.jpg").read_bytes() == b"precious"
    serving().download("f1", tmp_path, overwrite=True)
    assert (tmp_path / "photo.jpg").read_bytes() == b"content"


def test_a_download_does_not_follow_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "photo.jpg").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        serving().download("f1", tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_download_does_not_touch_a_file_that_appears_meanwhile(tmp_path):
    def appear(_done, _total):
        (tmp_path / "photo.jpg").write_bytes(b"precious")

    with pytest.raises(FileExistsError):
        serving().download("f1", tmp_path, on_progress=appear)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"precious"]


@pytest.mark.parametrize("content", [b"CONTENT", b"cont", b""])
def test_a_damaged_download_is_refused_and_leaves_nothing(tmp_path, content):
    with pytest.raises(DamagedDownloadError, match=f"arrived damaged: {len(content)} bytes"):
        serving(content).download("f1", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_does_not_fit_names_its_path_and_leaves_nothing(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            serving().download("f1", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / "photo.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_download_of_nothing_is_refused_with_the_servers_words(tmp_path):
    body = {"code": "file_not_found", "title": "There is no such file", "detail": "there is no file f1"}
    with pytest.raises(ProblemError, match="there is no file f1"):
        always(404, body).download("f1", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/etc/passwd", "passwd"),
        ("..", "fallback"),
        (".", "fallback"),
        ("", "fallback"),
        ("photos/", "fallback"),
        (".bashrc", "bashrc"),
        ("  . .hidden", "hidden"),
        ("a\x00b\x1b[31m\n.txt", "ab[31m.txt"),
        ("gpj.\u202eexe", "gpj.exe"),
        ('a<b>c:d"e|f?g*.txt', "a_b_c_d_e_f_g_.txt"),
        ("Übergrößen 写真.jpg", "Übergrößen 写真.jpg"),
        ("\ud800.txt", "txt"),
    ],
)
def test_whatever_a_file_is_called_its_name_stays_in_the_folder(name, bare):
    assert bare_name(name, "fallback") == bare


@pytest.mark.parametrize("name", ["é" * 300 + ".jpg", "x" * 300, "a." + "b" * 300])
def test_a_long_name_is_cut_before_its_suffix(name):
    bare = bare_name(name, "fallback")
    assert len(bare.encode()) <= 200
    assert bare.endswith(".jpg") == name.endswith(".jpg")


def test_a_hostile_name_does_not_lead_out_of_the_folder(tmp_path):
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    serving(name="../../out.txt").download("f1", folder)
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.txt")] == [Path("in/here/out.txt")]


def test_processors_are_read_with_their_schema():
    one = {"name": "a.b", "summary": "Do it.", "accepts": ["*/*"], "params_schema": {}, "limits": {"min_files": 1}}
    assert [info.name for info in always(200, {"items": [one]}).processors()] == ["a.b"]
    assert always(200, one).processor("a.b").limits == {"min_files": 1}


def test_cancel_retry_and_delete_use_the_paths_of_the_contract():
    seen = []

    def answer(request):
        seen.append((request.method, request.url.path))
        return httpx.Response(204) if request.method == "DELETE" else httpx.Response(200, json=job_json())

    with client(answer) as mill:
        mill.cancel("j1")
        mill.retry("j1")
        mill.delete("j1")
    assert seen == [("POST", "/v1/jobs/j1/cancel"), ("POST", "/v1/jobs/j1/retry"), ("DELETE", "/v1/jobs/j1")]


def test_a_file_is_a_value():
    created = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    sha256 = hashlib.sha256(b"content").hexdigest()
    assert always(200, file_json()).file("f1") == File("f1", "photo.jpg", "image/jpeg", 7, sha256, created)
