"""What the API tells of a processor, and what it answers where one cannot run."""

import json
import re

import pytest

from service.testing import open_app

NEEDY = '''\
from service import JobContext, processor


@processor(
    "needy", min_files=0, max_files=3, timeout_s=5, max_attempts=2, memory_limit_bytes=2**28, max_concurrency=1,
    extra="pdf", requires=["json", "nothing_of_that_name"],
)
def needy(job: JobContext, page: int) -> None:
    """Read pages.

    It needs a library.
    """
    import nothing_of_that_name
'''
NEEDS = 'needy needs nothing_of_that_name, not installed here; install it with: pip install "filemill[pdf]"'


@pytest.fixture
async def app(tmp_path):
    path = tmp_path / "needy.py"
    path.write_text(NEEDY)
    async with open_app(path) as app:
        yield app


async def test_a_processor_that_lacks_a_module_is_listed_with_what_installs_it(app):
    listed = {one["name"]: one for one in (await app.get("/v1/processors")).json()["items"]}
    needy = listed["needy"]
    assert (needy["available"], needy["install"]) == (False, 'pip install "filemill[pdf]"')
    assert (needy["summary"], needy["details"]) == ("Read pages.", "It needs a library.")
    assert needy["limits"] == {
        "min_files": 0, "max_files": 3, "timeout_s": 5, "max_attempts": 2,
        "memory_limit_bytes": 2**28, "max_concurrency": 1,
    }  # fmt: skip
    assert (await app.get("/v1/processors/needy")).json() == needy
    assert listed["file.checksum"]["limits"]["memory_limit_bytes"] == app.runtime.settings.job_memory_limit_bytes
    assert (listed["file.checksum"]["available"], listed["file.checksum"]["install"]) == (True, None)


@pytest.mark.parametrize("order", [["processor", "file"], ["file", "processor"]])
async def test_a_job_for_it_is_refused_and_nothing_is_kept(app, order):
    parts = {"processor": (None, b"needy"), "file": ("a.txt", b"one")}
    refused = await app.post("/v1/jobs", files=[(name, parts[name]) for name in order])
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["detail"]) == (422, "processor_unavailable", NEEDS)
    assert (await app.get("/v1/jobs")).json()["items"] == []
    assert [path for path in app.runtime.settings.data_dir.joinpath("files").rglob("*") if path.is_file()] == []


async def test_the_openapi_document_has_the_params_of_every_processor(app):
    document = (await app.get("/openapi.json")).json()
    schemas, submit = document["components"]["schemas"], document["paths"]["/v1/jobs"]["post"]
    listed = {one["name"]: one for one in (await app.get("/v1/processors")).json()["items"]}
    assert schemas["needy"] == {
        "title": "needy",
        "type": "object",
        "description": "The params of `needy`. Read pages.\n\nIt needs a library.",
        "properties": {"page": {"title": "Page", "type": "integer"}},
        "required": ["page"],
        "additionalProperties": False,
    }
    for name, one in listed.items():
        assert schemas[name]["properties"].keys() == one["params_schema"]["properties"].keys()
    body = submit["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["params"]["anyOf"] == [{"$ref": f"#/components/schemas/{name}"} for name in listed]
    assert '- `needy`: Read pages. Not available: pip install "filemill[pdf]". Params: `page`.' in submit["description"]


async def test_the_openapi_document_has_the_params_of_no_other_service(app):
    assert "needy" in (await app.get("/openapi.json")).text
    async with open_app() as other:
        assert "needy" not in (await other.get("/openapi.json")).text


async def test_every_reference_of_the_openapi_document_leads_somewhere(app):
    text = (await app.get("/openapi.json")).text
    schemas = json.loads(text)["components"]["schemas"]
    names = re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', text)
    assert names
    assert set(names) <= set(schemas)
    assert '"$defs"' not in text


async def test_the_same_holds_for_json(app):
    refused = await app.post("/v1/jobs", json={"processor": "needy", "params": {"page": 1}})
    assert (refused.status_code, refused.json()["code"]) == (422, "processor_unavailable")
