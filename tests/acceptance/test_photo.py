"""A photo goes in by every door, and comes out as a JPEG of the size that was asked for."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import pyvips  # type: ignore[import-untyped]

from tests.acceptance.server import clean_environment, run_server

PHOTO = Path(__file__).parents[1] / "samples" / "rocket.jpg"
WIDTH, HEIGHT = 320, 214  # of 640 x 427
PARAMS = json.dumps({"width": WIDTH})
LIMIT_S = 60

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("photo") / "data") as server:
        yield server


def run(*command, **settings):
    ended = subprocess.run(
        [*map(str, command)], env=clean_environment(**settings), capture_output=True, timeout=LIMIT_S, check=False
    )
    assert ended.returncode == 0, ended
    return ended.stdout


def curl(server, path, *arguments):
    return run("curl", "-sS", "--fail-with-body", "--noproxy", "*", server.url + path, *arguments)


def filemill(server, *arguments):
    return run(sys.executable, "-m", "service", *arguments, url=server.url).decode()


def finished(server, job):
    """Wait for the job by asking as a client does."""
    return json.loads(curl(server, job["links"]["self"], "-H", "Prefer: wait=30"))


def require_thumbnail(body, width=WIDTH, height=HEIGHT):
    assert body[:3] == b"\xff\xd8\xff"
    image = pyvips.Image.new_from_buffer(body, "", access="sequential")
    assert (image.width, image.height, image.bands) == (width, height, 3)
    assert 1 < image.avg() < 254  # all of it can be decoded, and there is a picture in it


def require_job(server, job):
    assert (job["state"], job["attempt"], job["error"]) == ("succeeded", 1, None)
    (output,) = job["outputs"]
    assert (output["name"], output["media_type"]) == ("rocket-320w.jpg", "image/jpeg")
    body = curl(server, output["links"]["content"])
    assert len(body) == output["size_bytes"]
    require_thumbnail(body)


@needs_curl
def test_a_photo_in_a_form_is_answered_at_once_and_becomes_a_thumbnail(server):
    form = ["-F", "processor=image.thumbnail", "-F", f"params={PARAMS}", "-F", f"file=@{PHOTO}"]
    job = json.loads(curl(server, "/v1/jobs", *form))
    assert job["state"] == "queued"
    require_job(server, finished(server, job))


@needs_curl
def test_a_photo_as_the_body_itself_becomes_a_thumbnail(server):
    place = "/v1/jobs?processor=image.thumbnail&filename=rocket.jpg&params=%7B%22width%22%3A320%7D"
    job = json.loads(curl(server, place, "-H", "Content-Type: image/jpeg", "--data-binary", f"@{PHOTO}"))
    require_job(server, finished(server, job))


@needs_curl
def test_a_client_that_prefers_to_wait_gets_the_finished_job_in_the_first_answer(server):
    form = ["-F", f"file=@{PHOTO}", "-F", f"params={PARAMS}", "-F", "processor=image.thumbnail"]
    require_job(server, json.loads(curl(server, "/v1/jobs", "-H", "Prefer: wait=30", *form)))


def test_the_command_line_submits_waits_and_downloads(server, tmp_path):
    said = filemill(server, "submit", "image.thumbnail", PHOTO, "-p", f"width={WIDTH}", "-o", tmp_path / "out")
    place = tmp_path / "out" / "rocket-320w.jpg"
    assert said == f"{place}\n"
    require_thumbnail(place.read_bytes())


def test_the_command_line_submits_now_and_downloads_later(server, tmp_path):
    job_id = filemill(
        server, "submit", "image.thumbnail", PHOTO, "-p", "width=99", "-p", "height=99", "-p", "fit=cover"
    )
    filemill(server, "jobs", "wait", job_id.strip())
    filemill(server, "jobs", "download", job_id.strip(), "-o", tmp_path)
    require_thumbnail((tmp_path / "rocket-99w.jpg").read_bytes(), 99, 99)
