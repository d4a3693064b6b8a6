"""JSON in bodies, form fields and queries: what could be misread is refused by name, or read as its sender meant."""

import json
import sys
import threading

import pytest

from service.intake.json_text import DoubledKeysError, parse_json
from service.intake.submission import read_json_field
from tests.web.answers import MULTIPART, assert_problem, multipart, part, wrong_fields

JSON = {"Content-Type": "application/json"}
MARK = b"\xef\xbb\xbf"
DOUBLED = {
    b'{"a": 1, "a": 2}': ["a"],
    b'{"a": 1, "\\u0061": 1}': ["a"],
    b'{"a": {"b": 1, "c": 2, "b": 3}}': ["a.b"],
    b'{"a": [1, {"b": [], "b": []}]}': ["a.1.b"],
    b'{"a": 1, "a": 2, "a": 3, "b": {"": 1, "": 2}}': ["a", "a", "b."],
}


@pytest.fixture
def send(client):
    """Return a function that sends the JSON text of a field in each way, and yields the answers."""

    async def send(name, text):
        body = b'{"processor": "t.echo", "' + name.encode() + b'": ' + text + b"}"
        yield await client.post("/v1/jobs", content=body, headers=JSON)
        form = multipart(part("processor", "t.echo"), part(name, text))
        yield await client.post("/v1/jobs", content=form, headers={"Content-Type": MULTIPART})
        if len(text) < 2000:
            yield await client.post("/v1/jobs", params={"processor": "t.read", name: text.decode()}, content=b"x")

    return send


async def test_a_key_that_came_twice_is_refused_with_its_place(send, nothing_left, subtests):
    for text, places in DOUBLED.items():
        for name in ("params", "metadata"):
            with subtests.test(text=text, name=name):
                async for response in send(name, text):
                    problem = assert_problem(response, 422, "invalid_request")
                    assert wrong_fields(problem) == [f"{name}.{place}" for place in places]
                    assert f"{name}.{places[0]}" in problem["detail"]
    nothing_left()


async def test_a_field_of_the_body_that_came_twice_is_refused(client, nothing_left):
    body = b'{"processor": "t.echo", "priority": 1, "processor": "t.read"}'
    problem = assert_problem(await client.post("/v1/jobs", content=body, headers=JSON), 422, "invalid_request")
    assert wrong_fields(problem) == ["processor"]
    assert "processor came twice" in problem["detail"]
    nothing_left()


async def test_doubled_keys_and_what_else_is_wrong_are_named_at_once(client, nothing_left):
    body = multipart(part("processor", "t.echo"), part("params", '{"a": 1, "a": 2}'), part("priority", "high"))
    response = await client.post("/v1/jobs", content=body, headers={"Content-Type": MULTIPART})
    assert wrong_fields(assert_problem(response, 422, "invalid_request")) == ["params.a", "priority"]
    nothing_left()


def test_of_many_doubled_keys_the_first_are_named():
    text = json.dumps([{"a": 1, "b": 2}] * 1000).replace('"b"', '"a"')
    with pytest.raises(DoubledKeysError) as refused:
        parse_json(text)
    assert refused.value.paths == tuple((str(index), "a") for index in range(10))


@pytest.mark.parametrize("value", ["{}", "[]", '""', "1.5", '{"a": {"b": ":"}}'])
def test_json_of_many_values_takes_no_step_of_python_for_each(value):
    text, calls = "[" + ", ".join([value] * 10_000) + "]", []
    sys.setprofile(lambda _frame, event, _argument: calls.append(event))
    try:
        parsed = parse_json(text)
    finally:
        sys.setprofile(None)
    assert len(parsed) == 10_000
    assert len(calls) < 5000  # of the garbage collector


def test_what_only_looks_like_a_key_in_a_string_is_none():
    for value in ({'a":': ':":', "b\\": '\\":1', ":": "::", "Infinity": "I"}, ['":"', "\\", ":", '\\\\"'], "Infinity"):
        for ascii_only in (True, False):
            assert parse_json(json.dumps(value, ensure_ascii=ascii_only)) == value
    assert parse_json(r'{"\u003a": "\u0022\u003a", "\u0049": "\/:"}') == {":": '":', "I": "/:"}
    with pytest.raises(DoubledKeysError):
        parse_json(r'{"\\": ":", "a\":": 1, "a\u0022:": 2}')


@pytest.mark.parametrize("of_form", [False, True])
async def test_large_json_is_parsed_once_and_beside_the_event_loop(client, monkeypatch, of_form):
    threads = []

    def noted(parse):
        def parse_noted(text):
            threads.append(threading.current_thread())
            return parse(text)

        return parse_noted

    monkeypatch.setattr("service.intake.receive.parse_json", noted(parse_json))
    monkeypatch.setattr("service.intake.receive.read_json_field", noted(read_json_field))
    monkeypatch.setattr("service.intake.submission.read_json_field", noted(read_json_field))
    large = b'{"a": [' + b"{}," * 30_000 + b'{"b": 1, "b": 2}]}'
    form = multipart(
        part("processor", "t.read"), part("metadata", large), part("file", b"x", "a"), part("file", b"", "b")
    )
    answer = await client.post(
        "/v1/jobs",
        content=form if of_form else b'{"processor": "t.echo", "metadata": ' + large + b"}",
        headers={"Content-Type": MULTIPART} if of_form else JSON,
    )
    assert wrong_fields(assert_problem(answer, 422, "invalid_request")) == ["metadata.a.30000.b"]
    assert len(threads) == 1
    assert threads != [threading.current_thread()]


async def test_a_body_that_is_no_object_is_refused_as_that(client, nothing_left):
    for body in (b"null", b"[]", b'"x"', b"1", b"true"):
        problem = assert_problem(await client.post("/v1/jobs", content=body, headers=JSON), 422, "invalid_request")
        assert "must be a JSON object" in problem["detail"]
    nothing_left()


@pytest.mark.parametrize("kind", ["application/vnd.api+json", "text/json", "application/xml", ""])
async def test_json_by_another_name_is_refused_with_what_names_it(client, nothing_left, kind):
    answer = await client.post("/v1/jobs", content=b'{"processor": "t.echo"}', headers={"Content-Type": kind})
    problem = assert_problem(answer, 422, "invalid_request")
    for word in ("Content-Type", "?processor=", "application/json", "multipart/form-data"):
        assert word in problem["detail"]
    assert wrong_fields(problem) == ["processor"]
    nothing_left()


async def test_the_same_key_in_two_objects_is_no_doubled_key(send):
    text = b'{"value": [{"a": 1}, {"a": 1, "b": {"a": 1}}]}'
    async for response in send("metadata", text):
        assert response.json()["metadata"] == json.loads(text)


async def test_a_byte_order_mark_before_json_is_passed_over(client, finished):
    text = json.dumps({"value": "ä"}).encode()
    whole = MARK + b'{"processor": "t.echo", "params": ' + text + b"}"
    form = multipart(part("processor", "t.echo"), part("params", MARK + text))
    query = {"processor": "t.read", "metadata": "\ufeff{}"}
    assert (await client.post("/v1/jobs", params=query, content=b"x")).status_code == 202
    for body, content_type in ((whole, "application/json"), (form, MULTIPART)):
        response = await client.post("/v1/jobs", content=body, headers={"Content-Type": content_type})
        assert (await finished(response.json()))["result"] == "ä"


async def test_json_that_is_not_utf_8_is_refused_by_its_name(client, nothing_left):
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        body = '{"processor": "t.echo"}'.encode(encoding)
        problem = assert_problem(await client.post("/v1/jobs", content=body, headers=JSON), 422, "invalid_request")
        assert "UTF-16" in problem["detail"]
    nothing_left()


async def test_what_no_json_parser_keeps_is_refused_and_never_a_5xx(send, nothing_left, subtests):
    for text in (b'{"a": 1e999}', b'{"a": -1e999}', b'{"a": ' + b"7" * 5000 + b"}", b'{"a": 1e' + b"9" * 5000 + b"}",
                 b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
                 b'{"a":' * 5000 + b"1" + b"}" * 5000, MARK + MARK + b"{}"):  # fmt: skip
        for name in ("params", "metadata"):
            with subtests.test(text=text[:20], name=name):
                body, *others = [response async for response in send(name, text)]
                for response in (body, *others):
                    assert_problem(response, 422, "invalid_request")
    nothing_left()


async def test_json_as_deep_as_is_taken_comes_back(client, submit, finished):
    deep = json.loads("[" * 190 + "]" * 190)
    job = await finished(await submit(processor="t.echo", params={"value": deep}, metadata={"deep": deep}))
    assert job["metadata"] == {"deep": deep}
    assert (await client.get("/v1/jobs")).status_code == 200


async def test_numbers_and_texts_at_the_edge_come_back_as_they_came(submit):
    value = {"\0": "\0", "": int("7" * 4300), "small": 5e-324, "zero": 0, "least": -(2**64)}
    assert (await submit(processor="t.echo", metadata=value))["metadata"] == value


# ---- other things that can be only once


async def test_a_header_that_can_be_only_once_is_refused_when_it_comes_twice(client, nothing_left, subtests):
    for name, values in {
        "Content-Type": ("application/json", "application/octet-stream"),
        "Idempotency-Key": ("one", "two"),
    }.items():
        for path in ("/v1/jobs", "/v1/files"):
            with subtests.test(name=name, path=path):
                headers = [(name, value) for value in values]
                response = await client.post(path, content=b'{"processor": "t.echo"}', headers=headers)
                assert f"header {name} came 2 times" in assert_problem(response, 400, "bad_request")["detail"]
    nothing_left()


async def test_a_query_parameter_that_came_twice_is_refused_by_name(client, nothing_left):
    for response in (
        await client.post("/v1/jobs?processor=t.read&priority=1&priority=2", content=b"x"),
        await client.post("/v1/files?filename=a&filename=b", content=b"x"),
        await client.get("/v1/jobs?state=queued&state=failed"),
    ):
        assert "came twice" in assert_problem(response, 400, "bad_request")["detail"]
    nothing_left()
