"""The OpenAPI document tells the whole contract."""

import re
from typing import Any

import pytest

from service.app import create_app
from service.intake.submission import from_text, from_values
from service.settings import Settings

METHODS = {"get", "post", "put", "delete", "patch", "head"}
CALLS = {
    "/v1/jobs": {"get", "post"},
    "/v1/jobs/{job_id}": {"get", "delete"},
    "/v1/jobs/{job_id}/cancel": {"post"},
    "/v1/jobs/{job_id}/retry": {"post"},
    "/v1/files": {"get", "post"},
    "/v1/files/{file_id}": {"get", "delete"},
    "/v1/files/{file_id}/content": {"get"},
    "/v1/processors": {"get"},
    "/v1/processors/{name}": {"get"},
    "/livez": {"get"},
    "/readyz": {"get"},
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


@pytest.fixture(scope="module")
def operations(document):
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def walk(node):
    """Yield every object in the document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


async def test_the_server_serves_the_document_and_its_pages(client, document):
    served = (await client.get("/openapi.json")).json()
    assert served["paths"].keys() == document["paths"].keys()
    assert served["components"]["schemas"].keys() > document["components"]["schemas"].keys()  # the processors, too
    assert (await client.get("/docs")).status_code == 200


def test_every_call_of_the_contract_is_there(document):
    assert document["openapi"].startswith("3.1")
    assert document["info"].keys() >= {"title", "version", "summary"}
    assert {path: set(item) & METHODS for path, item in document["paths"].items() if path in CALLS} == CALLS


def test_every_operation_has_a_summary_a_description_and_an_id_of_its_own(operations):
    assert all(one["summary"] and one["description"] for one in operations.values())
    assert len({one["operationId"] for one in operations.values()}) == len(operations)


def test_every_reference_leads_somewhere(document):
    for node in walk(document):
        if isinstance(reference := node.get("$ref"), str):
            target = document
            for name in reference.removeprefix("#/").split("/"):
                target = target[name]
            assert target


def test_every_parameter_is_described_and_has_a_schema(operations):
    for name, operation in operations.items():
        seen = set()
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], (name, parameter["name"])
            assert parameter["schema"], (name, parameter["name"])
            assert parameter["in"] in {"query", "header", "path"}
            seen.add((parameter["in"], parameter["name"]))
        assert len(seen) == len(operation.get("parameters", ()))
        in_path = set(re.findall(r"{(\w+)}", name))
        assert {parameter for place, parameter in seen if place == "path"} == in_path


def test_every_answer_is_described_and_every_refusal_is_a_problem_with_an_example(operations):
    for name, operation in operations.items():
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)
            if int(status) < 400 or (name, status) == ("GET /readyz", "503"):
                continue
            assert list(response["content"]) == ["application/problem+json"], (name, status)
            media = response["content"]["application/problem+json"]
            assert media["schema"] == {"$ref": "#/components/schemas/Problem"}
            examples = [media["example"]] if "example" in media else [e["value"] for e in media["examples"].values()]
            assert all(example["status"] == int(status) and example["code"] for example in examples)


def test_what_is_answered_with_a_body_has_a_schema(operations):
    for operation in operations.values():
        for status, response in operation["responses"].items():
            content = response.get("content", {})
            # a stream has a schema of its items
            assert all(media.get("schema") or media.get("itemSchema") for media in content.values())
            if status in {"204", "304"}:
                assert "content" not in response


def test_a_submission_may_come_in_three_ways(operations):
    content = operations["POST /v1/jobs"]["requestBody"]["content"]
    assert content.keys() == {"multipart/form-data", "application/json", "application/octet-stream"}
    fields = {"processor", "params", "priority", "run_after", "max_attempts", "timeout_s", "metadata"}
    assert content["multipart/form-data"]["schema"]["properties"].keys() == fields | {"file"}
    assert content["application/json"]["schema"]["properties"].keys() == fields | {"files"}


def test_each_body_has_a_whole_example(operations):
    for call in ("POST /v1/jobs", "POST /v1/files"):
        for kind, media in operations[call]["requestBody"]["content"].items():
            assert media["example"], (call, kind)
            assert media["schema"].get("properties", {}).keys() <= {*media["example"]}
    content = operations["POST /v1/jobs"]["requestBody"]["content"]
    from_json = from_values(content["application/json"]["example"])
    from_form = from_text({k: v for k, v in content["multipart/form-data"]["example"].items() if k != "file"})
    assert from_form == from_json.model_copy(update={"files": []})


def test_the_raw_way_documents_every_field_that_it_takes(operations):
    query = {one["name"] for one in operations["POST /v1/jobs"]["parameters"] if one["in"] == "query"}
    fields = {"processor", "params", "priority", "run_after", "max_attempts", "timeout_s", "metadata"}
    assert query == fields | {"filename"}


def test_headers_that_a_call_heeds_are_documented(operations):
    def headers(name):
        return {one["name"] for one in operations[name].get("parameters", ()) if one["in"] == "header"}

    assert headers("POST /v1/jobs") == {"Prefer", "Idempotency-Key"}
    assert headers("GET /v1/jobs/{job_id}") == {"Prefer"}
    assert headers("POST /v1/files") == {"Idempotency-Key"}
    assert headers("GET /v1/files/{file_id}/content") == {
        "Range", "If-Range", "If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since",
    }  # fmt: skip


def test_no_answer_is_documented_that_no_call_gives(document):
    assert not {"HTTPValidationError", "ValidationError"} & document["components"]["schemas"].keys()
