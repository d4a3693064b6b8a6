"""http.request against real servers, and the rules for outgoing requests."""

import asyncio
import contextlib
import ipaddress
import json
import socket
import ssl

import httpx
import pytest
import trustme

from service.catalogue.http import calling as http_calling
from service.catalogue.http.request import request
from service.errors import InvalidParamsError
from service.outgoing import (
    ForbiddenAddressError,
    GuardedTransport,
    OutgoingRules,
    UnknownHostError,
    resolve,
)
from service.processors.base import Retry
from service.settings import Settings, environment_name
from service.tls import open_tls
from tests.integration.catalogue import SAMPLES


@pytest.fixture(autouse=True)
def allow(monkeypatch):
    """Return a function that sets OUTGOING_ALLOW; nothing else is set."""
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)
    return lambda text: monkeypatch.setenv("FILEMILL_OUTGOING_ALLOW", text)


class Server:
    """A server that answers as `answers` has it, by path, and keeps what it was asked."""

    def __init__(self):
        self.answers = {}
        self.asked = []
        self._busy = set()
        self.port = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path, status="200 OK", body=b"", **headers):
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.answers[path] = "\r\n".join([*lines, "", ""]).encode() + body

    async def handle(self, reader, writer):
        self._busy.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.asked.append((method, path, headers, body))
            writer.write(self.answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            await writer.drain()
            if path == "/silence":
                await reader.read()

    async def aclose(self):
        if self._busy:
            await asyncio.wait(self._busy, timeout=5)


@pytest.fixture
async def server(allow):
    allow("127.0.0.1")
    one = Server()
    listening = await asyncio.start_server(one.handle, "127.0.0.1", 0)
    one.port = listening.sockets[0].getsockname()[1]
    yield one
    listening.close()
    await one.aclose()


@pytest.fixture
def names(monkeypatch):
    """Return a dict of host names and their addresses, which the loop resolves by; and a list of what it resolved."""
    known: dict[str, list[str]] = {}
    resolved: list[str] = []

    async def getaddrinfo(host, port, **_):
        resolved.append(host)
        if host not in known:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    def patch():
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        return known, resolved

    return patch


# ---- calling


async def test_a_json_body_is_posted_and_the_response_saved(attempts, server):
    server.answer("/hook", body=b'{"ok": true}', Content_Type="application/json; charset=utf-8", ETag='"1"')
    done = await attempts.arun(request, url=server.url + "/hook", body={"größe": [1, None]}, headers={"X-Key": "k"})
    [(method, _, headers, body)] = server.asked
    assert (method, json.loads(body)) == ("POST", {"größe": [1, None]})
    assert (headers["content-type"], headers["x-key"]) == ("application/json", "k")
    assert headers["idempotency-key"] == "0198-job"
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert done.bytes_by_name() == {"response.json": b'{"ok": true}'}
    assert done.result == {
        "status": 200, "headers": {"content-type": "application/json; charset=utf-8", "etag": '"1"'},
        "size_bytes": 12, "output": "response.json",
    }  # fmt: skip


async def test_a_file_is_sent_as_it_is_with_its_length(attempts, server):
    server.answer("/", status="204 No Content")
    photo = SAMPLES / "rocket.jpg"
    done = await attempts.arun(request, attempts.sample(photo), url=server.url + "/", method="PUT")
    [(method, _, headers, body)] = server.asked
    assert (method, body) == ("PUT", photo.read_bytes())
    assert (headers["content-type"], headers["content-length"]) == ("image/jpeg", str(photo.stat().st_size))
    assert "transfer-encoding" not in headers
    assert (done.result["status"], done.result["output"], done.outputs) == (204, None, [])


async def test_without_anything_to_send_it_is_a_get(attempts, server):
    server.answer("/", body=b"x")
    await attempts.arun(request, url=server.url + "/")
    [(method, _, headers, body)] = server.asked
    assert (method, body, "idempotency-key" in headers) == ("GET", b"", False)


async def test_a_redirect_sends_the_file_again_where_the_status_says_so(attempts, server):
    server.answer("/old", status="307 Temporary Redirect", Location="/new")
    server.answer("/new", body=b"done")
    await attempts.arun(request, attempts.file(b"content"), url=server.url + "/old", headers={"X-Key": "k"})
    assert [(method, path, body) for method, path, _, body in server.asked] == [
        ("POST", "/old", b"content"),
        ("POST", "/new", b"content"),
    ]
    assert server.asked[1][2]["x-key"] == "k"


async def test_headers_stay_with_the_first_host(attempts, server, allow):
    allow("127.0.0.1, localhost, ::1")
    server.answer("/old", status="307 Temporary Redirect", Location=f"http://localhost:{server.port}/new")
    server.answer("/new", body=b"done")
    secrets = {"Authorization": "Bearer t", "X-Key": "k", "Cookie": "c=1"}
    await attempts.arun(request, url=server.url + "/old", body=1, headers=secrets)
    assert {"authorization", "x-key", "cookie"} <= set(server.asked[0][2])
    assert not {"authorization", "x-key", "cookie"} & set(server.asked[1][2])
    assert server.asked[1][2]["host"] == f"localhost:{server.port}"


# ---- what the answers mean


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_some_statuses_are_tried_again(attempts, server, status):
    server.answer("/", status=f"{status} Sorry")
    with pytest.raises(Retry, match=f"answered {status} Sorry"):
        await attempts.arun(request, url=server.url + "/")


@pytest.mark.parametrize("status", [304, 400, 401, 404, 410, 422, 501])
async def test_other_statuses_fail(attempts, server, status):
    server.answer("/", status=f"{status} No")
    fail = await attempts.arefusal(request, url=server.url + "/")
    assert (fail.code, f"{status} No" in str(fail)) == ("http_status", True)


async def test_which_statuses_are_tried_again_can_be_said(attempts, server):
    server.answer("/", status="404 Not Found")
    with pytest.raises(Retry):
        await attempts.arun(request, url=server.url + "/", retry_statuses=[404])


@pytest.mark.parametrize(
    ("value", "delay_s"),
    [("7", 7), ("99999999999999999999", 86_400), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("-1", None)],
)
async def test_retry_after_is_heeded_within_bounds(attempts, server, value, delay_s):
    server.answer("/", status="503 Busy", Retry_After=value)
    with pytest.raises(Retry) as caught:
        await attempts.arun(request, url=server.url + "/")
    assert caught.value.delay_s == delay_s


async def test_a_response_beyond_the_limit_is_given_up_before_it_is_read(attempts, server):
    server.answers["/told"] = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    server.answers["/untold"] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 2000
    for path in ("/told", "/untold"):
        fail = await attempts.arefusal(request, url=server.url + path, max_response_bytes=1000)
        assert fail.code == "response_too_large"


@pytest.mark.parametrize("cut", [b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this", b"nonsense\r\n\r\n", b""])
async def test_a_response_that_breaks_off_is_tried_again(attempts, server, cut):
    server.answers["/"] = cut
    with pytest.raises(Retry, match="cannot be reached"):
        await attempts.arun(request, url=server.url + "/")


async def test_a_server_that_says_nothing_is_given_up(attempts, server):
    server.answers["/silence"] = b""
    with pytest.raises(Retry, match=r"did not answer within 0\.2 s"):
        await attempts.arun(request, url=server.url + "/silence", timeout_s=0.2)


async def test_redirects_without_end_are_given_up(attempts, server):
    server.answer("/", status="302 Found", Location="/")
    fail = await attempts.arefusal(request, url=server.url + "/", max_redirects=3)
    assert (fail.code, len(server.asked)) == ("too_many_redirects", 4)


# ---- where it may not go

FORBIDDEN = [
    "http://127.0.0.1/", "http://localhost/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0/",
    "http://0.0.0.0/", "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:a9fe:a9fe]/",
    "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://169.254.169.254/latest/",
    "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.1.1/", "http://100.64.0.1/", "http://[fd00::1]/",
    "http://[fe80::1]/", "http://224.0.0.1/", "http://[ff02::1]/", "http://255.255.255.255/", "http://240.0.0.1/",
    "http://192.0.2.1/", "http://198.18.0.1/", "https://127.0.0.1:22/",
]  # fmt: skip


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_an_address_that_is_not_public_is_refused(attempts, url):
    fail = await attempts.arefusal(request, url=url)
    assert fail.code == "address_forbidden", str(fail)


async def test_a_name_is_judged_by_all_its_addresses(attempts, names):
    known, _ = names()
    known["both.example"] = ["93.184.215.14", "10.0.0.1"]
    assert (await attempts.arefusal(request, url="http://both.example/")).code == "address_forbidden"


async def test_a_redirect_to_an_address_that_is_not_public_is_refused(attempts, server, allow):
    allow("127.0.0.1/32")
    for target in ("http://169.254.169.254/latest/meta-data/", f"http://127.0.0.2:{server.port}/", "file:///etc/passwd",
                   f"http://[::ffff:127.0.0.2]:{server.port}/", "ftp://127.0.0.1/"):  # fmt: skip
        server.answer("/", status="302 Found", Location=target)
        assert (await attempts.arefusal(request, url=server.url + "/")).code == "address_forbidden"


async def test_the_name_is_resolved_once_and_the_connection_made_to_what_was_checked(names, allow):
    allow("")
    known, resolved = names()
    known["rebound.example"] = ["93.184.215.14"]
    address = await resolve(OutgoingRules(), "rebound.example", 80)
    assert (str(address), resolved) == ("93.184.215.14", ["rebound.example"])

    called = []

    class Recording(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            called.append((request.url.host, request.headers["host"], request.extensions["sni_hostname"]))
            return httpx.Response(200)

    transport = GuardedTransport(OutgoingRules(), await open_tls())
    transport._transport = Recording()  # type: ignore[assignment]
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get("https://rebound.example:8443/x")
    assert called == [("93.184.215.14", "rebound.example:8443", "rebound.example")]
    assert resolved == ["rebound.example"] * 2


async def test_tls_checks_the_name_although_the_address_is_called(names):
    authority = trustme.CA()
    known, _ = names()
    known |= {"files.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]}
    inside, outside = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("files.example").configure_cert(inside)
    authority.configure_trust(outside)
    one = Server()
    one.answer("/", body=b"hello")
    listening = await asyncio.start_server(one.handle, "127.0.0.1", 0, ssl=inside)
    port = listening.sockets[0].getsockname()[1]
    rules = OutgoingRules.parse("files.example, other.example")
    async with httpx.AsyncClient(transport=GuardedTransport(rules, outside)) as client:
        assert (await client.get(f"https://files.example:{port}/")).content == b"hello"
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await client.get(f"https://other.example:{port}/")
    assert one.asked[0][2]["host"] == f"files.example:{port}"
    listening.close()
    await one.aclose()


@pytest.mark.parametrize(
    ("allowed", "host", "address", "passes"),
    [
        ("10.0.0.0/8", "a", "10.1.2.3", True), ("10.0.0.0/8", "a", "11.1.2.3", True), ("10.0.0.0/8", "a",
        "192.168.0.1", False),
        ("intranet.example", "intranet.example", "10.0.0.1", True), ("intranet.example", "Intranet.Example.",
        "10.0.0.1", True),
        ("intranet.example", "evil.example", "10.0.0.1", False), ("::1", "a", "::1", True), ("127.0.0.1", "a",
        "::1", False),
        ("127.0.0.1", "a", "::ffff:127.0.0.1", True), ("", "a", "2606:4700::1111", True), ("", "a", "8.8.8.8", True),
        ("", "a", "64:ff9b::808:808", True), ("", "a", "64:ff9b::a00:1", False), (" , ", "a", "127.0.0.1", False),
    ],
)  # fmt: skip
def test_the_setting_allows_hosts_and_networks(allowed, host, address, passes):
    rules = OutgoingRules.parse(allowed)
    with contextlib.nullcontext() if passes else pytest.raises(ForbiddenAddressError):
        rules.check(host, ipaddress.ip_address(address))


async def test_a_name_without_an_address_is_tried_again(attempts, names):
    names()
    with pytest.raises(Retry, match=r"nowhere\.example cannot be resolved"):
        await attempts.arun(request, url="http://nowhere.example/")
    with pytest.raises(UnknownHostError):
        await resolve(OutgoingRules(), "x" * 70 + ".example", 80)


# ---- bad input


@pytest.mark.parametrize(
    "params",
    [
        {"url": "ftp://example.org/"}, {"url": "file:///etc/passwd"}, {"url": "http://a b/"},
        {"url": "http://a/\r\nX: 1"},
        {"headers": {"X-Key": "a\r\nHost: b"}}, {"headers": {"X Key": "a"}}, {"headers": {"X-Key\r\nHost": "b"}},
        {"timeout_s": 0}, {"max_redirects": 11}, {"retry_statuses": [200]}, {"method": "TRACE"},
    ],
)  # fmt: skip
def test_params_that_make_no_sense_are_refused(params):
    with pytest.raises(InvalidParamsError):
        request.check_params({"url": "http://example.org/", **params})


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Connection"])
async def test_headers_that_shape_the_message_are_refused(attempts, name):
    fail = await attempts.arefusal(request, url="http://example.org/", headers={name: "1"})
    assert fail.code == "forbidden_header"


async def test_a_file_and_a_body_at_once_are_refused(attempts):
    fail = await attempts.arefusal(request, attempts.file(b"1"), url="http://example.org/", body={})
    assert fail.code == "file_or_body"


@pytest.mark.parametrize("url", ["http://[::1/", "http://exa_mple..org:99999/", "http://%zz/", "http://:80/"])
async def test_a_url_that_is_none_is_refused(attempts, names, url):
    names()
    try:
        fail = await attempts.arefusal(request, url=url)
    except Retry:
        return
    assert fail.code in {"invalid_url", "address_forbidden"}


async def test_a_redirect_from_https_to_http_is_refused(attempts, monkeypatch):
    class Redirecting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            return httpx.Response(302, headers={"Location": "http://example.org/"}, request=request)

    monkeypatch.setattr(http_calling, "GuardedTransport", lambda _rules, _tls: Redirecting())
    fail = await attempts.arefusal(request, url="https://example.org/")
    assert fail.code == "insecure_redirect"
