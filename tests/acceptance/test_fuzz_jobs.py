"""Sequences of calls against a model in memory: what the API says of every job is what the model says."""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.acceptance.invariants import broken_histories, broken_rows, bytes_without_row, rows, rows_without_bytes
from tests.chaos.inside import Inside, open_inside
from tests.web.answers import FAR

EXAMPLES, STEPS = int(os.environ.get("FUZZ_EXAMPLES", "8")), 20
OUTCOMES = {"t.echo": "succeeded", "t.write": "succeeded", "t.read": "succeeded", "t.fail": "failed"}
PARAMS = {"t.write": {"name": "a.txt"}}
picks = st.integers(0, 1000)


class Model(RuleBasedStateMachine):
    """Jobs by id, in the order of their submission; files that are kept; and what each idempotency key made."""

    service: Inside

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, str] = {}
        self.processors: dict[str, str] = {}
        self.files: dict[str, set[str]] = {}  # the jobs that have each
        self.keys: dict[str, tuple[dict[str, object], str]] = {}

    # ---- submit

    @rule(processor=st.sampled_from(sorted(OUTCOMES)), waits=st.booleans(), key=st.booleans())
    def submit(self, processor, waits, key):
        body = {"processor": processor, "params": PARAMS.get(processor, {}), "max_attempts": 1}
        name = f"key-{len(self.keys)}-{id(self)}" if key else None
        job_id = self._submit(body | ({"run_after": FAR} if waits else {}), name)
        if name:
            self.keys[name] = (body | ({"run_after": FAR} if waits else {}), job_id)

    @precondition(lambda self: self.files)
    @rule(pick=picks, waits=st.booleans())
    def submit_with_a_stored_file(self, pick, waits):
        file_id = sorted(self.files)[pick % len(self.files)]
        body = {"processor": "t.read", "files": [file_id], "max_attempts": 1} | ({"run_after": FAR} if waits else {})
        self.files[file_id].add(self._submit(body, None))

    @precondition(lambda self: self.keys)
    @rule(pick=picks, same=st.booleans())
    def repeat(self, pick, same):
        name = sorted(self.keys)[pick % len(self.keys)]
        body, job_id = self.keys[name]
        sent = body if same else body | {"priority": 7}
        answer = self.service.call("POST", "/v1/jobs", json=sent, headers={"Idempotency-Key": name})
        assert answer.status_code == (202 if same else 422)
        if same:
            assert (answer.json()["id"], answer.headers["idempotency-replayed"]) == (job_id, "true")

    def _submit(self, body, key):
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.service.call("POST", "/v1/jobs", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["id"]
        self.processors[job_id] = body["processor"]
        self.states[job_id] = "queued" if "run_after" in body else OUTCOMES[body["processor"]]
        return job_id

    # ---- move

    @precondition(lambda self: self.states)
    @rule(pick=picks)
    def cancel(self, pick):
        job_id = self._any(pick)
        self._settle(job_id)
        answer = self.service.call("POST", f"/v1/jobs/{job_id}/cancel")
        assert answer.status_code == (200 if self.states[job_id] == "queued" else 409)
        if answer.is_success:
            self.states[job_id] = "cancelled"

    @precondition(lambda self: self.states)
    @rule(pick=picks)
    def retry(self, pick):
        job_id = self._any(pick)
        self._settle(job_id)
        answer = self.service.call("POST", f"/v1/jobs/{job_id}/retry")
        assert answer.status_code == (200 if self.states[job_id] in {"failed", "cancelled"} else 409)
        if answer.is_success:
            self.states[job_id] = self._outcome(job_id)

    @precondition(lambda self: self.states)
    @rule(pick=picks)
    def delete(self, pick):
        job_id = self._any(pick)
        self._settle(job_id)
        assert self.service.call("DELETE", f"/v1/jobs/{job_id}").status_code == 204
        assert self.service.call("GET", f"/v1/jobs/{job_id}").status_code == 404
        del self.states[job_id]
        for jobs in self.files.values():
            jobs.discard(job_id)

    # ---- files

    @rule(content=st.binary(max_size=100))
    def store(self, content):
        answer = self.service.call("POST", "/v1/files?filename=a", content=content)
        assert answer.status_code == 201
        self.files[answer.json()["id"]] = set()

    @precondition(lambda self: self.files)
    @rule(pick=picks)
    def delete_file(self, pick):
        file_id = sorted(self.files)[pick % len(self.files)]
        for job_id in self.files[file_id]:
            self._settle(job_id)
        needed = any(self.states[job_id] == "queued" for job_id in self.files[file_id])
        assert self.service.call("DELETE", f"/v1/files/{file_id}").status_code == (409 if needed else 204)
        if not needed:
            for job_id in self.files.pop(file_id):
                self.processors[job_id] = "without its file"

    # ---- look

    @invariant()
    def every_job_is_where_the_model_says(self):
        for job_id, state in self.states.items():
            self._settle(job_id)
            assert self.service.call("GET", f"/v1/jobs/{job_id}").json()["state"] == state

    @invariant()
    def the_list_is_the_models_newest_first_in_pages_of_any_size(self):
        for limit in (1, 3, 500) if len(self.states) < 6 else (500,):
            listed, cursor = [], None
            while True:
                query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
                page = self.service.call("GET", "/v1/jobs", params=query).json()
                listed += [job["id"] for job in page["items"]]
                if (cursor := page["next_cursor"]) is None:
                    break
            assert listed == sorted(self.states, reverse=True)

    def teardown(self):
        data_dir = self.service.data_dir
        wrong = [*broken_histories(data_dir), *broken_rows(data_dir)]
        wrong += [*bytes_without_row(data_dir), *rows_without_bytes(data_dir)]
        for job_id in self.states:
            self._settle(job_id)
            assert self.service.call("DELETE", f"/v1/jobs/{job_id}").status_code == 204
        for file_id in self.files:
            assert self.service.call("DELETE", f"/v1/files/{file_id}").status_code == 204
        assert wrong == []
        for table in ("jobs", "files", "job_files", "events"):
            assert rows(data_dir, f"SELECT * FROM {table}") == []  # noqa: S608
        assert list((data_dir / "files").iterdir()) == []

    def _any(self, pick):
        return sorted(self.states)[pick % len(self.states)]

    def _outcome(self, job_id):
        return OUTCOMES.get(self.processors[job_id], "failed")

    def _settle(self, job_id):
        """Wait for the end of a job that has one."""
        if self.states[job_id] in {"succeeded", "failed"}:
            self.service.call("GET", f"/v1/jobs/{job_id}", headers={"Prefer": "wait=20"})


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with open_inside(tmp_path_factory.mktemp("model") / "data") as service:
        yield service


def test_the_api_is_the_model(service):
    model = type("ModelOfThisService", (Model,), {"service": service})
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )  # fmt: skip


def test_a_job_that_lost_one_of_its_inputs_is_deleted_with_the_others(service):
    files = [service.call("POST", "/v1/files?filename=a", content=b"x").json()["id"] for _ in range(2)]
    job = {"processor": "t.read", "files": files}
    job_id = service.call("POST", "/v1/jobs", json=job, headers={"Prefer": "wait=20"}).json()["id"]
    assert service.call("DELETE", f"/v1/files/{files[0]}").status_code == 204
    assert service.call("DELETE", f"/v1/jobs/{job_id}").status_code == 204
    assert service.call("GET", f"/v1/files/{files[1]}").status_code == 200  # it is kept for itself
    assert service.call("DELETE", f"/v1/files/{files[1]}").status_code == 204
