"""What a power cut leaves is what was synced before it. So the order of syncs is proved on a running server.

The proof is the list of its system calls, taken by strace, and not a reading of the code.
"""

import httpx
import pytest

from tests.acceptance.invariants import require_sound, rows
from tests.acceptance.server import run_server
from tests.chaos.trace import Call, in_order, injected, read_trace, run_traced, why_not

REFUSAL = why_not()
pytestmark = pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL))

BODY = b"x" * 2_500_000  # three pieces
SYNCS = ("fsync", "fdatasync")


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """The calls of a server from its first start on: an upload, a job with an output, and a deletion."""
    folder = tmp_path_factory.mktemp("traced").resolve()
    with (
        run_traced(folder / "data", folder / "trace") as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http,
    ):
        query = {"processor": "file.checksum", "filename": "x"}
        upload = http.post("/v1/jobs", params=query, content=BODY, headers={"Prefer": "wait=30"}).json()
        params = {"name": "a.txt", "content": "a line\n"}
        made = {"processor": "text.write", "params": params}
        written = http.post("/v1/jobs", json=made, headers={"Prefer": "wait=30"}).json()
        assert (upload["state"], written["state"]) == ("succeeded", "succeeded")
        assert http.delete(f"/v1/jobs/{upload['id']}").status_code == 204
        require_sound(server.url, server.data_dir, [written["id"]])
        assert server.stop() == 0
    return server.data_dir, read_trace(folder / "trace"), upload, written


def test_an_upload_is_written_synced_renamed_and_its_folder_synced_before_its_row_is_committed_and_answered(traced):
    data_dir, calls, upload, _ = traced
    key = upload["inputs"][0]["id"]
    written = [call for call in calls if call.name == "write" and call.place.endswith(f"/{key}")]
    assert len(written) >= 3
    sync = first(calls, "fsync", f"/{key}>", after=written[-1])
    rename = first(calls, "rename", f"{data_dir}/files/{key}", after=sync)
    folder = first(calls, "fsync", f"{data_dir}/files>", after=rename)
    row, commit = commit_of(calls, upload["id"], folder)
    answer = next(call for call in calls if "HTTP/1.1 " in call.text and call.begin > commit.end)
    assert in_order([*written, sync, rename, folder, row, commit, answer])
    assert not [call for call in calls if "-wal>" in call.text and upload["id"] in call.text and call.begin < row.begin]


def test_an_output_is_synced_renamed_and_its_folder_synced_before_the_job_has_succeeded(traced):
    data_dir, calls, _, written = traced
    key = written["outputs"][0]["id"]
    rename = first(calls, "rename", f"{data_dir}/files/{key}")
    source = rename.text.split('"')[1]
    sync = [call for call in calls if call.name == "fsync" and f"<{source}>" in call.text and call.end < rename.begin]
    folder = first(calls, "fsync", f"{data_dir}/files>", after=rename)
    row, commit = commit_of(calls, key, folder)
    assert in_order([*sync[-1:], rename, folder, row, commit])
    assert len(sync) == 1


def test_bytes_are_deleted_after_the_deletion_of_their_row_is_durable(traced):
    data_dir, calls, upload, _ = traced
    key = upload["inputs"][0]["id"]
    unlink = first(calls, "unlink", f"{data_dir}/files/{key}")
    before = [call for call in calls if call.place.endswith("-wal") and call.end < unlink.begin]
    assert before[-1].name in SYNCS  # nothing was written to the log that was not synced


def test_the_folders_that_the_first_start_makes_are_durable_before_the_first_answer(traced):
    data_dir, calls, upload, _ = traced
    answer = next(call for call in calls if "HTTP/1.1 202" in call.text)
    for made, parent in ((data_dir, data_dir.parent), (data_dir / "files", data_dir)):
        mkdir = first(calls, "mkdir", f'"{made}"')
        syncs = [call for call in calls if call.name in SYNCS and call.place == str(parent)]
        assert [call for call in syncs if mkdir.end < call.begin and call.end < answer.begin], f"{parent} is not synced"
    assert upload["id"]


def test_a_kill_within_sqlites_own_commit_loses_nothing(tmp_path):
    with run_server(tmp_path / "data") as server:
        # nobody else makes this call; the count is that of one thread
        with injected(server.pid, "fdatasync:signal=SIGKILL:when=4"):
            accepted = submit_until_it_dies(server.url)
        assert server.process.wait(30) == -9
        server.start()
        require_sound(server.url, server.data_dir, accepted)
        assert {row["id"] for row in rows(server.data_dir, "SELECT id FROM jobs")} >= set(accepted)


def submit_until_it_dies(url):
    """Return the jobs that were accepted."""
    accepted = []
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
        try:
            for number in range(200):
                answer = http.post("/v1/jobs?processor=file.checksum", content=b"%d" % number)
                assert answer.status_code == 202
                accepted.append(answer.json()["id"])
        except httpx.TransportError:
            return accepted
    raise AssertionError("it did not die")


def first(calls: list[Call], name: str, text: str, *, after: Call | None = None) -> Call:
    """Return the first such call that began after another had ended."""
    floor = after.end if after else -1
    found = [call for call in calls if call.name == name and text in call.text and call.begin > floor]
    assert found, f"no {name} of {text}"
    return found[0]


def commit_of(calls: list[Call], text: str, after: Call) -> tuple[Call, Call]:
    """Return the first write of this text into the write-ahead log, and the sync that ends its commit."""
    row = first(calls, "pwrite64", text, after=after)
    assert row.place.endswith("filemill.db-wal")
    return row, first(calls, "fdatasync", "filemill.db-wal>", after=row)
