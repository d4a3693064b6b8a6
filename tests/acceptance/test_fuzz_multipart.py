"""Forms that no client would send, cut into pieces anywhere: a clear refusal or a job, never a 5xx, never a leak."""

import itertools
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.acceptance.invariants import bytes_without_row, files_of_nobody, rows_without_bytes
from tests.chaos.inside import open_inside
from tests.web.answers import part

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
BOUNDARY_CHARS = "abcXYZ019'()+_,-./:=? "
# descriptors of the connection pools and of the child may come and go
SLACK = 8

boundaries = st.text(BOUNDARY_CHARS, min_size=0, max_size=80)
names = st.one_of(
    st.sampled_from(["file", "processor", "params", "metadata", "priority", "nonsense"]), st.text(max_size=20)
)
contents = st.one_of(st.sampled_from([b"t.read", b"{}", b"[", b"\r\n--", b""]), st.binary(max_size=300))
known_headers = st.tuples(
    st.sampled_from(["Content-Transfer-Encoding", "Content-Type", "Content-Encoding", "X-Folded"]),
    st.sampled_from(
        ["base64", "quoted-printable", "\r\n base64", "text/plain; charset=utf-16", "multipart/mixed; boundary=b"]
    ),
)
headers = st.lists(
    st.one_of(known_headers, st.tuples(st.text(max_size=20), st.text(max_size=60))).map(
        lambda pair: f"{pair[0]}: {pair[1]}\r\n".encode()
    ),
    max_size=3,
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A boundary, and a form with it that may be damaged."""
    boundary = draw(st.one_of(st.just("frontier"), boundaries))
    parts = [part("processor", "t.read")] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 4))):
        one = part(draw(names), draw(contents), draw(st.one_of(st.none(), names)))
        parts.append(b"".join(draw(headers)) + one)
    mark = b"--" + boundary.encode()
    body = b"".join(mark + b"\r\n" + one for one in parts) + mark + b"--\r\n"
    return boundary, draw(st.one_of(st.just(body), damaged(body)))


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """A body of which some bytes are lost, doubled, or others."""
    for _ in range(draw(st.integers(1, 4))):
        at, count = draw(st.integers(0, len(body))), draw(st.integers(0, 12))
        body = body[:at] + draw(st.binary(max_size=12)) + body[at + count :]
    return body


def pieces_of(body: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return [body[a:b] for a, b in itertools.pairwise(places)]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with open_inside(tmp_path_factory.mktemp("multipart") / "data", max_part_header_bytes=512, max_files=3) as service:
        yield service


def test_a_damaged_form_in_any_pieces_is_refused_or_taken_and_nothing_leaks(service):
    service.call("POST", "/v1/jobs?processor=t.read", content=b"warm")
    before = service.usage()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        bodies(), st.lists(st.integers(0, 5000), max_size=12), st.booleans(), st.sampled_from(["/v1/jobs", "/v1/files"])
    )
    def attack(made, cuts, byte_by_byte, path):
        boundary, body = made
        pieces = [body[at : at + 1] for at in range(len(body))] if byte_by_byte else pieces_of(body, cuts)
        answer = service.send(path, {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}, pieces)
        assert answer.status_code in {201, 202, 400, 404, 413, 415, 422, 431}, answer.text
        if not answer.is_success:
            problem = answer.json()
            assert problem["code"]
            assert problem["detail"]
        assert service.leftovers() == []

    attack()
    after = service.usage(before["tasks"])
    assert after["tasks"] <= before["tasks"]
    assert after["descriptors"] <= before["descriptors"] + SLACK
    data_dir = service.data_dir
    assert [*bytes_without_row(data_dir), *rows_without_bytes(data_dir), *files_of_nobody(data_dir)] == []


def test_a_form_cut_in_two_anywhere_makes_the_same_job(service):
    body = b"".join(
        b"--frontier\r\n" + one for one in (part("processor", "t.read"), part("file", b"\r\n--front\r\n", "a.bin"))
    )
    body += b"--frontier--\r\n"
    content_type = {"Content-Type": "multipart/form-data; boundary=frontier"}
    for at in range(len(body)):
        answer = service.send("/v1/jobs", content_type, [body[:at], body[at:]])
        assert answer.status_code == 202, (at, answer.text)
        assert [file["size_bytes"] for file in answer.json()["inputs"]] == [11]
    assert service.leftovers() == []
