"""What params, metadata and a result may weigh is a setting of each, and a refusal names it."""

import json

import pytest

from service.errors import SettingsError
from service.settings import load_settings
from service.sizes import MOST_RESULT_BYTES
from service.worker.frames import MAX_FRAME_BYTES, pack
from service.worker.runner import Returned
from tests.web.answers import MULTIPART, assert_problem, form, multipart, part

KIB = 1024


def of_size(size_bytes, name="value"):
    """Return an object with so many bytes of JSON."""
    return {name: "x" * (size_bytes - len(f'{{"{name}":""}}'))}


@pytest.mark.settings(max_params_bytes=KIB, max_metadata_bytes=2 * KIB)
@pytest.mark.parametrize(("field", "limit"), [("params", KIB), ("metadata", 2 * KIB)])
async def test_a_field_beyond_its_setting_is_refused_by_name_and_one_of_just_the_limit_is_taken(
    client, field, limit, nothing_left, subtests
):
    def sent(size_bytes):
        fields = {"processor": "t.echo", field: of_size(size_bytes)}
        ways = {"form": {"files": form(**fields)}, "json": {"json": fields}}
        if field == "params":
            raw = {"processor": "t.echo", "params": json.dumps(fields["params"])}
            ways["raw"] = {"params": raw, "content": b""}
        return ways.items()

    for way, request in sent(limit + 1):
        with subtests.test(way=way):
            problem = assert_problem(await client.post("/v1/jobs", **request), 413, "field_too_large")
            assert problem["detail"] == (
                f"the {field} have {limit + 1} bytes of JSON, and may have {limit} (FILEMILL_MAX_{field.upper()}_BYTES)"
            )
    nothing_left()
    for way, request in sent(limit):
        if way != "raw":  # which has a file, and `t.echo` takes none
            assert (await client.post("/v1/jobs", **request)).status_code == 202


@pytest.mark.settings(max_metadata_bytes=KIB)
async def test_what_is_too_large_is_refused_before_a_file_is_read(exchange, nothing_left):
    upload = exchange("POST", "/v1/jobs", Content_Type=MULTIPART)
    fields = part("processor", "t.read"), part("metadata", json.dumps(of_size(2 * KIB)))
    upload.put(multipart(*fields, part("file", b"x", "a"))[:-14])
    assert_problem(await upload.answer(), 413, "field_too_large")
    nothing_left()


@pytest.mark.settings(max_field_bytes=3 * 1024 * KIB)
async def test_without_the_settings_all_is_taken_that_fits_into_a_field(client):
    metadata = of_size(2 * 1024 * KIB)
    assert (await client.post("/v1/jobs", json={"processor": "t.echo", "metadata": metadata})).status_code == 202


@pytest.mark.settings(max_result_bytes=KIB)
@pytest.mark.parametrize("name", ["t.echo", "t.echo_in_child"])
async def test_a_result_beyond_its_setting_fails_the_job_and_names_it(submit, finished, name):
    job = await finished(await submit(processor=name, params={"value": "x" * KIB}))
    assert job["error"]["code"] == "result_too_large"
    assert "at most 1024 are kept (FILEMILL_MAX_RESULT_BYTES)" in job["error"]["message"]
    assert (await finished(await submit(processor=name, params={"value": "x" * 1000})))["state"] == "succeeded"


def test_the_largest_result_fits_into_what_a_child_may_send():
    result = ["ü" * 1000] * (MOST_RESULT_BYTES // 2004)
    assert MOST_RESULT_BYTES - 2100 < len(json.dumps(result, ensure_ascii=False).encode()) <= MOST_RESULT_BYTES
    assert len(pack(Returned(result))) <= MAX_FRAME_BYTES
    with pytest.raises(SettingsError, match="FILEMILL_MAX_RESULT_BYTES"):
        load_settings({}, max_result_bytes=MOST_RESULT_BYTES + 1)


DEEP = 100_000


@pytest.mark.parametrize("field", ["params", "metadata"])
async def test_nesting_of_any_depth_is_refused_with_a_sentence(client, field, nothing_left):
    value = '{"value":' + "[" * DEEP + "]" * DEEP + "}"
    body = f'{{"processor":"t.echo","{field}":{value}}}'
    answers = [
        await client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"}),
        await client.post("/v1/jobs", files=form(processor="t.echo", **{field: value})),
    ]
    for answer in answers:
        assert "nested deeper than 200 levels" in assert_problem(answer, 422, "invalid_request")["detail"]
    nothing_left()


async def test_a_result_of_the_deepest_kind_is_shown_and_no_list_breaks(client, submit, finished):
    deepest = await finished(await submit(processor="t.deep", params={"levels": 190}))
    refused = await finished(await submit(processor="t.deep", params={"levels": 300}))
    assert (deepest["state"], refused["error"]["code"]) == ("succeeded", "invalid_result")
    for query in ("", "?limit=500", "?fields=result"):
        items = (await client.get(f"/v1/jobs{query}")).json()["items"]
        assert [item["result"] for item in items] == [None, deepest["result"]]
