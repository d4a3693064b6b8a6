"""One server to a data folder, and one to a port."""

import shutil
import socket
import subprocess
import sys

import httpx
import pytest

from tests.acceptance.server import clean_environment, run_server

LIMIT_S = 60


def refusal(*arguments):
    """Run a server that must refuse to start, and return what it says."""
    command = [sys.executable, "-m", "service", "serve", *map(str, arguments)]
    ended = subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ended.returncode == 1, ended
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return " ".join(ended.stderr.split())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("lock") / "data") as server:
        yield server


def test_a_second_server_on_the_same_folder_is_refused_and_leaves_the_first_alone(server):
    before = (server.data_dir / "server.json").read_bytes()
    said = refusal("--port", 0, "--data-dir", server.data_dir)
    assert f"belongs to the server with process id {server.pid}" in said
    assert (server.data_dir / "server.json").read_bytes() == before
    assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200


def test_a_second_name_for_the_folder_does_not_help(server, tmp_path):
    (tmp_path / "other").symlink_to(server.data_dir)
    assert f"process id {server.pid}" in refusal("--port", 0, "--data-dir", tmp_path / "other")


def test_a_server_that_was_killed_leaves_no_lock(tmp_path):
    with run_server(tmp_path / "data") as server:
        first = server.pid
        server.kill()
        assert server.start().pid != first


def test_a_copy_of_a_folder_is_another_folder(tmp_path):
    with run_server(tmp_path / "data") as server:
        server.stop()
        shutil.copytree(server.data_dir, tmp_path / "copy")
        server.start()
        with run_server(tmp_path / "copy") as second:
            assert httpx.get(f"{second.url}/readyz", trust_env=False).status_code == 200


def test_a_port_that_is_taken_is_told_in_a_sentence_and_the_folder_is_not_touched(server, tmp_path):
    port = httpx.URL(server.url).port
    said = refusal("--port", port, "--data-dir", tmp_path / "other")
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said
    assert "--port" in said
    assert not (tmp_path / "other").exists()


def test_a_host_that_is_none_is_told_in_a_sentence(tmp_path):
    assert "cannot listen on a..b:0: " in refusal("--host", "a..b", "--port", 0, "--data-dir", tmp_path / "data")


def test_an_ipv6_address_may_stand_in_brackets_as_in_a_url(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with run_server(tmp_path / "data", arguments=["--host", "[::1]"]) as server:
        assert server.url.startswith("http://[::1]:")
        assert httpx.get(f"{server.url}/livez", trust_env=False).status_code == 200


def test_the_way_to_the_folder_may_go_through_one_that_is_not_there(tmp_path):
    way = tmp_path / "nowhere" / ".." / "data"
    with run_server(tmp_path / "data", arguments=["--data-dir", str(way)]) as server:
        assert {path.name for path in tmp_path.iterdir()} == {"data", "data.log"}
        assert server.stop() == 0
    assert not (tmp_path / "data" / "server.json").exists()


def test_a_link_that_leads_in_a_circle_is_told_in_a_sentence(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    assert "symbolic links" in refusal("--port", 0, "--data-dir", tmp_path / "circle" / "data")


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    said = refusal("--port", 0, "--data-dir", tmp_path / "file" / "data")
    assert "cannot be used" in said


def test_a_folder_whose_database_is_none_is_told_in_a_sentence(tmp_path):
    (tmp_path / "filemill.db").write_bytes(b"no database at all" * 100)
    said = refusal("--port", 0, "--data-dir", tmp_path)
    assert f"the database {tmp_path / 'filemill.db'} cannot be used: file is not a database" in said
