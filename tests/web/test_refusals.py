"""POST /v1/jobs with what cannot become a job: status, code, a sentence that helps, and nothing left."""

import json
from typing import Any

import pytest

from service.store.ids import new_id
from tests.web.answers import MULTIPART, assert_problem, form, multipart, part, wrong_fields

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def submit_everywhere(client):
    """Return a function that sends fields and a file in each way, and yields the answers."""

    async def submit(content=None, **fields):
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
        files = [] if content is None else [("a", content)]
        yield await client.post("/v1/jobs", files=form(*files, **fields) or [("x", (None, b""))])
        if content is None:
            yield await client.post("/v1/jobs", json=fields)
        else:
            yield await client.post("/v1/jobs", params=texts, content=content)
            yield await client.post("/v1/jobs", files=form(*files, **fields)[::-1])

    return submit


async def test_an_unknown_processor_is_refused_and_near_ones_are_named(submit_everywhere, nothing_left, subtests):
    for name, near in {"image.thumbnial": "image.thumbnail", "checksum": "file.checksum", "T.READ": "t."}.items():
        for content in (None, b"bytes"):
            with subtests.test(name=name, content=content):
                async for response in submit_everywhere(content, processor=name):
                    assert near in assert_problem(response, 404, "unknown_processor")["detail"]
    async for response in submit_everywhere(b"x", processor="zzz" * 50):
        assert "there are" in assert_problem(response, 404, "unknown_processor")["detail"]
    nothing_left()


async def test_an_unknown_processor_is_refused_before_the_file_is_read(exchange, nothing_left):
    raw = exchange("POST", "/v1/jobs?processor=nothing")
    assert_problem(await raw.answer(), 404, "unknown_processor")
    whole = exchange("POST", "/v1/jobs", Content_Type=MULTIPART)
    whole.put(b"--frontier\r\n" + part("processor", "nothing") + b"--frontier\r\n" + part("file", b"x" * 99, "a")[:-2])
    assert_problem(await whole.answer(), 404, "unknown_processor")
    assert (raw.taken, whole.taken) == (0, 1)
    nothing_left()


async def test_a_raw_body_that_cannot_fit_is_refused_before_it_is_read(exchange, nothing_left, subtests):
    for query, status, code in [
        ("", 422, "invalid_request"),
        ("?colour=red&processor=t.read", 422, "invalid_request"),
        ("?processor=t.read&params=[]", 422, "invalid_request"),
        ("?processor=t.read&priority=9999", 422, "invalid_request"),
        ("?processor=t.read&processor=t.read", 400, "bad_request"),
        ("?processor=t.form&params={%22width%22:5}", 422, "wrong_file_count"),
        ("?processor=t.form", 422, "invalid_params"),
        ("?processor=t.read&files=x", 422, "invalid_request"),
    ]:
        with subtests.test(query=query):
            upload = exchange("POST", "/v1/jobs" + query, Content_Type="image/png")
            assert_problem(await upload.answer(), status, code)
            assert upload.taken == 0
    nothing_left()


PARAMS = {
    "missing": ({}, ["params.width"]),
    "a type": ({"width": "wide"}, ["params.width"]),
    "too small": ({"width": 0}, ["params.width"]),
    "too large": ({"width": 101}, ["params.width"]),
    "far too large": ({"width": 10**30}, ["params.width"]),
    "an unknown name": ({"width": 5, "height": 5}, ["params.height"]),
    "a choice": ({"width": 5, "mode": "stretch"}, ["params.mode"]),
    "in a list": ({"width": 5, "tags": ["a", 1, None]}, ["params.tags.1", "params.tags.2"]),
    "null": ({"width": None}, ["params.width"]),
    "several": ({"width": -1, "ratio": "x", "mode": 1, "more": 2},
                ["params.mode", "params.more", "params.ratio", "params.width"]),
}  # fmt: skip


async def test_params_that_do_not_fit_are_refused_field_by_field(submit_everywhere, nothing_left, subtests):
    for case, (params, fields) in PARAMS.items():
        with subtests.test(case=case):
            async for response in submit_everywhere(processor="t.form", params=params):
                problem = assert_problem(response, 422, "invalid_params")
                assert wrong_fields(problem) == fields
                assert "t.form" in problem["detail"]
    nothing_left()


async def test_params_that_are_no_json_object_are_refused(client, nothing_left, subtests):
    for text in ("", "not JSON", "{", "[1]", "null", "17", '"text"', "{'a': 1}", '{"a": NaN}', '{"a": 1e400}',
                 '{"a": "\\ud800"}', "[" * 5000, '{"a":' * 300 + "1" + "}" * 300, "\0"):  # fmt: skip
        for name in ("params", "metadata"):
            with subtests.test(text=text[:20], name=name):
                for response in (
                    await client.post("/v1/jobs", files=form(processor="t.echo", **{name: text})),
                    await client.post("/v1/jobs", params={"processor": "t.read", name: text}, content=b"x"),
                ):
                    problem = assert_problem(response, 422, "invalid_request")
                    assert wrong_fields(problem) == [name]
                    assert "JSON" in problem["detail"]
    nothing_left()


async def test_a_json_body_that_is_no_submission_is_refused(client, nothing_left, subtests):
    for body in (b"", b"null", b"[]", b"17", b'"t.read"', b"{", b"\xff\xfe", b'{"processor": 1}', b'{"files": "x"}',
                 b'{"processor": "t.echo", "params": {"value": NaN}}', b"[" * 5000, b'{"processor": "t.echo"} trailing',
                 b'{"processor": "t.echo", "params": null}', b'{"processor": "t.echo", "colour": "red"}'):  # fmt: skip
        with subtests.test(body=body[:40]):
            assert_problem(await client.post("/v1/jobs", content=body, headers=JSON), 422, "invalid_request")
    nothing_left()


FIELDS = [
    ("priority", "1001"), ("priority", "-1001"), ("priority", "high"), ("priority", "1.5"), ("priority", "9" * 500),
    ("run_after", "tomorrow"), ("run_after", "2026-01-01T00:00:00"), ("run_after", "2026-13-01T00:00:00Z"),
    ("run_after", "9999-12-31T23:59:59-12:00"), ("run_after", "1e400"),
    ("max_attempts", "0"), ("max_attempts", "101"), ("max_attempts", "many"),
    ("timeout_s", "0"), ("timeout_s", "-1"), ("timeout_s", "NaN"), ("timeout_s", "inf"), ("timeout_s", "604801"),
]  # fmt: skip


async def test_a_field_that_makes_no_sense_is_refused_by_name(submit_everywhere, nothing_left, subtests):
    for name, value in FIELDS:
        with subtests.test(name=name, value=value[:30]):
            async for response in submit_everywhere(b"x", processor="t.read", **{name: value}):
                problem = assert_problem(response, 422, "invalid_request")
                assert wrong_fields(problem) == [name]
                assert name in problem["detail"]
                assert "Value error" not in response.text
    nothing_left()


async def test_forms_that_are_not_submissions_are_refused(client, nothing_left, subtests):
    for case, body, words in [
        ("a field that there is not", multipart(part("processor", "t.read"), part("colour", "red")), "colour"),
        ("ids of files", multipart(part("processor", "t.read"), part("files", new_id())), "files"),
        ("a field twice", multipart(part("processor", "t.read"), part("processor", "t.read")), "twice"),
        ("a file under another name", multipart(part("processor", "t.read"), part("photo", b"x", "a")), "`file`"),
        ("a file that is a field", multipart(part("processor", "t.read"), part("file", b"x")), "file"),
        ("a field that is a file", multipart(part("processor", "t.read", "a.txt")), "`file`"),
        ("no processor", multipart(part("file", b"x", "a")), "processor"),
        ("nothing", multipart(), "processor"),
        ("not UTF-8", multipart(part("processor", "t.read"), part("metadata", b'{"a": "\xff"}')), "UTF-8 at byte 7"),
    ]:
        with subtests.test(case=case):
            response = await client.post("/v1/jobs", content=body, headers={"Content-Type": MULTIPART})
            assert words in assert_problem(response, 422, "invalid_request")["detail"]
    nothing_left()


async def test_every_field_of_a_form_that_is_wrong_is_named_at_once(client, nothing_left):
    wrong = {"priority": "high", "timeout_s": "0", "metadata": "[]", "params": "{", "colour": "red", "run_after": "7"}
    fields = form(**wrong, processor="t.read")
    for response in (
        await client.post("/v1/jobs", files=fields),
        await client.post("/v1/jobs", params={**wrong, "processor": "t.read"}, content=b"x"),
    ):
        problem = assert_problem(response, 422, "invalid_request")
        assert wrong_fields(problem) == sorted(wrong)
    nothing_left()


async def test_a_json_body_is_taken_by_its_types(client, nothing_left, subtests):
    for name, value in [
        ("priority", True), ("priority", "7"), ("priority", 7.5), ("timeout_s", "7"), ("timeout_s", True),
        ("max_attempts", "2"), ("max_attempts", True), ("run_after", 1_700_000_000), ("run_after", "1700000000"),
        ("run_after", True), ("processor", 7), ("files", {"a": 1}),
    ]:  # fmt: skip
        with subtests.test(name=name, value=value):
            response = await client.post("/v1/jobs", json={"processor": "t.echo", name: value})
            assert wrong_fields(assert_problem(response, 422, "invalid_request")) == [name]
    nothing_left()


async def test_a_long_list_of_wrong_fields_is_cut_short(client):
    response = await client.post("/v1/jobs", json={"processor": "t.read", "files": list(range(50_000))})
    problem = assert_problem(response, 422, "invalid_request")
    assert len(problem["errors"]) == 100
    assert len(response.content) < 50_000


async def test_a_form_that_cannot_hold_files_is_refused_with_what_can(client, nothing_left):
    for path in ("/v1/jobs", "/v1/jobs?processor=t.read", "/v1/files"):
        problem = assert_problem(await client.post(path, data={"processor": "t.read"}), 415, "unsupported_content_type")
        for word in ("multipart/form-data", "application/json", "application/octet-stream"):
            assert word in problem["detail"]
    nothing_left()


async def test_a_query_beside_a_body_with_fields_is_refused(client, nothing_left):
    for response in (
        await client.post("/v1/jobs?priority=5", json={"processor": "t.echo"}),
        await client.post("/v1/jobs?processor=t.echo", files=form(processor="t.echo")),
        await client.post("/v1/jobs?processor=t.read&filename=a.json", json={"a": 1}),
    ):
        assert "in the query" in assert_problem(response, 422, "invalid_request")["detail"]
    nothing_left()


async def test_another_number_of_files_is_refused_and_the_right_one_named(client, store, nothing_left):
    none = await client.post("/v1/jobs", files=form(processor="t.photos"))
    assert "1 to 2 files, not 0" in assert_problem(none, 422, "wrong_file_count")["detail"]
    none = await client.post("/v1/jobs", json={"processor": "t.photos"})
    assert "1 to 2 files, not 0" in assert_problem(none, 422, "wrong_file_count")["detail"]
    one = await client.post("/v1/jobs", files=form(("a", b"x"), processor="t.form", params={"width": 1}))
    assert "no file" in assert_problem(one, 422, "wrong_file_count")["detail"]
    nothing_left()
    file = await store(b"GIF89a")
    three = await client.post("/v1/jobs", json={"processor": "t.photos", "files": [file["id"]] * 3})
    assert "not 3" in assert_problem(three, 422, "wrong_file_count")["detail"]


async def test_the_wrong_content_is_refused_whatever_it_is_called(submit_everywhere, client, nothing_left):
    async for response in submit_everywhere(b"plain text", processor="t.photos"):
        detail = assert_problem(response, 422, "media_type_not_accepted")["detail"]
        assert "text/plain" in detail
        assert "image/*" in detail
    photo = [("processor", (None, b"t.photos")), ("file", ("photo.jpg", b"plain text", "image/jpeg"))]
    problem = assert_problem(await client.post("/v1/jobs", files=photo), 422, "media_type_not_accepted")
    assert "'photo.jpg' is text/plain" in problem["detail"]
    nothing_left()


async def test_stored_files_that_are_not_there_are_named(client, nothing_left, subtests):
    for file_id in (new_id(), "", "../x", "\0", "x" * 5000):
        with subtests.test(file_id=file_id[:20]):
            response = await client.post("/v1/jobs", json={"processor": "t.read", "files": [file_id]})
            assert file_id[:100] in assert_problem(response, 422, "unknown_file")["detail"]
    nothing_left()


async def test_numbers_and_text_of_any_size_come_back_as_they_came(submit, finished, subtests):
    values: list[Any] = [2**63 - 1, -(2**63), 1e308, 5e-324, "\0", "\ud7ff\U0010ffff", [[[]]], {"": {"": None}}, True]
    for value in values:
        with subtests.test(value=value):
            assert (await finished(await submit(processor="t.echo", params={"value": value})))["result"] == value


async def test_a_refusal_is_short_whatever_it_refuses(client, nothing_left):
    wrong = {f"{'b' * 300}{number}": 1 for number in range(2000)}
    query = "&".join(f"x{number}=1" for number in range(2000))
    for response, names in (
        (await client.post("/v1/jobs", json={"processor": "t.form", "params": wrong}), "and 1991 more"),
        (await client.get(f"/v1/jobs?{query}"), "and 1990 more"),
        (await client.get(f"/v1/jobs?{'x' * 20_000}=1"), "xxx"),
    ):
        assert response.status_code == 422
        assert names in response.json()["detail"]
        assert len(response.json()["detail"]) < 2000
        assert len(response.content) < 40_000
    nothing_left()
