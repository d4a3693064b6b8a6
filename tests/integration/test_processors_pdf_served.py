"""The pdf family in its child process, as the service runs it."""

import json
import zlib
from pathlib import Path

import pytest

from tests.integration.test_processors_pdf_hostile import BOX, CATALOG, PAGES, page, pdf, stream

pytest.importorskip("pypdfium2")
SAMPLES = Path(__file__).parents[1] / "samples"


async def finished(client, content, **params):
    response = await client.post(
        "/v1/jobs",
        params={"processor": "pdf.text", "filename": "some.pdf", "params": json.dumps(params), "max_attempts": 1},
        content=content,
        headers={"prefer": "wait=60", "content-type": "application/pdf"},
    )
    assert response.status_code == 202, response.text
    return response.json()


async def test_a_page_that_expands_beyond_its_memory_limit_ends_with_its_own_error(client):
    bomb = zlib.compress(zlib.compress(bytes(10**9), 9), 9)
    assert len(bomb) < 2000
    content = stream(bomb, b"/Filter[/FlateDecode/FlateDecode]")
    job = await finished(client, pdf(CATALOG, PAGES, page(), content, BOX))
    assert (job["state"], job["error"]["code"]) == ("failed", "out_of_memory")
    job = await finished(client, (SAMPLES / "text.pdf").read_bytes())
    assert job["state"] == "succeeded"


async def test_a_password_opens_the_document_and_is_not_logged(client, capfd, caplog):
    content = (SAMPLES / "encrypted.pdf").read_bytes()
    job = await finished(client, content, password="test_user")  # noqa: S106
    assert job["result"]["files"][0]["pages"][0]["text"] == "Encrypted PDF"
    job = await finished(client, content, password="a secret")  # noqa: S106
    assert job["error"]["code"] == "wrong_password"
    printed = capfd.readouterr()
    for told in (json.dumps(job["error"]), caplog.text, printed.out, printed.err):
        assert "test_user" not in told
        assert "a secret" not in told
