"""The pages and their files, as a browser asks for them; what happens on them is the browser tests' business."""

import html
import json
import re
import shlex

import pytest

from service.web.dashboard.assets import MEDIA_TYPES, load_assets

PAGES = ["/", "/jobs", "/jobs/any-id", "/upload", "/processors", "/processors/image.thumbnail", "/processors/t.form"]
HOSTILE = "<script>alert(1)</script>"


@pytest.mark.parametrize("place", PAGES)
async def test_every_page_is_sent_with_a_policy_that_trusts_nobody(client, place):
    answer = await client.get(place)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("place", PAGES)
async def test_no_page_has_a_script_or_a_style_written_into_it(client, place):
    page = (await client.get(place)).text
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", page)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)


@pytest.mark.parametrize("place", PAGES)
async def test_all_that_a_page_names_is_there(client, place):
    page = (await client.get(place)).text
    places = set(re.findall(r'"(/static/[^"]+)"', page))
    assert len(places) > 3
    for one in places:
        answer = await client.get(one)
        assert answer.status_code == 200, one
        assert "immutable" in answer.headers["cache-control"]


async def test_a_file_under_another_release_is_sent_but_not_kept_for_ever(client):
    answer = await client.get("/static/older/style.css")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["nothing.js", "../pages.py", "..%2f..%2fpages.py", "js/../../dashboard/pages.py", "/etc/passwd"]
)
async def test_only_known_files_are_sent(client, name):
    answer = await client.get(f"/static/x/{name}", follow_redirects=True)
    assert answer.status_code == 404


async def test_a_name_in_an_address_is_text(client):
    for place in (
        f"/jobs/{HOSTILE.replace('/', '%2F')}",
        f"/processors/{HOSTILE.replace('/', '%2F')}",
        '/jobs/"onclick="x',
    ):
        assert "<script>" not in (page := (await client.get(place)).text)
        assert '"onclick="' not in page


async def test_an_unknown_processor_is_a_page_with_404(client):
    answer = await client.get("/processors/no.such")
    assert answer.status_code == 404
    assert "There is no processor" in answer.text


async def test_the_pages_are_no_part_of_the_api_document(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert "/v1/jobs" in paths
    assert not [
        path for path in paths if path.startswith(("/jobs", "/upload", "/processors", "/static")) or path == "/"
    ]


async def test_the_page_of_every_processor_shows_its_params_and_an_example(client, runtime):
    for one in runtime.registry.values():
        page = (await client.get(f"/processors/{one.name}")).text
        assert f"processor={one.name}" in page
        for name in one.params.model_fields:
            assert f"<code>{name}</code>" in page


async def test_the_example_of_every_processor_has_params_that_it_takes(client, runtime):
    for one in runtime.registry.values():
        page = (await client.get(f"/processors/{one.name}")).text
        found = re.search(r'example-title">(curl [^<]+)</pre>', page)
        assert found is not None, one.name
        words = shlex.split(html.unescape(found[1]))
        fields = dict(word.split("=", 1) for word in words if "=" in word)
        assert fields["processor"] == one.name
        assert one.check_params(json.loads(fields.get("params", "{}"))) is not None


def test_each_file_has_one_duty_and_is_short():
    for name, content in load_assets().files.items():
        assert content.count(b"\n") <= 300, name
        assert name.endswith(tuple(MEDIA_TYPES))
        assert b"innerHTML" not in content
        assert b"insertAdjacentHTML" not in content
