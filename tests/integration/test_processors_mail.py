"""mail.send against a real mail server, with STARTTLS, logins and refusals."""

import asyncio
import email
import email.policy
import ssl
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult

from service.catalogue.mail import message as mail_message
from service.catalogue.mail.send import send
from service.catalogue.text import rendering as text_rendering
from service.errors import InvalidParamsError
from service.processors.base import Retry
from service.settings import Settings, environment_name, load_settings
from tests.integration.catalogue import SAMPLES

PASSWORD = "correct horse"  # noqa: S105 - of the server below
MESSAGE = {"to": ["ann@example.org"], "subject": "Hello", "text": "Hi"}


@pytest.fixture(autouse=True)
def setting(monkeypatch):
    """Return a function that sets settings; nothing else is set."""
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)

    def set_them(**values):
        for name, value in values.items():
            monkeypatch.setenv(environment_name(name), str(value))

    return set_them


class Inbox:
    """What the server does: it keeps messages, and answers as `answers` has it."""

    def __init__(self):
        self.letters = []
        self.answers = {}
        self.logins = []

    async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802 - named by aiosmtpd
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server, session, envelope):  # noqa: N802
        answer = self.answers.get("DATA", "250 OK")
        if answer.startswith("250"):
            self.letters.append((envelope, session.ssl is not None))
        return answer

    def authenticate(self, _server, _session, _envelope, _mechanism, login):
        self.logins.append(login.login.decode())
        return AuthResult(success=login.password.decode() == PASSWORD, handled=False)


@pytest.fixture
def inbox():
    return Inbox()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
async def serve(inbox, setting, authority, tmp_path):
    """Return a function that starts the mail server, and points the settings at it."""
    certificate = authority.issue_cert("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    servers = []
    talks: list[SMTP] = []

    def begin(options):
        talks.append(SMTP(inbox, loop=asyncio.get_running_loop(), hostname="localhost", **options))
        return talks[-1]

    async def start(*, offers_tls=True, direct_tls=False, auth_required=False):
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        if offers_tls and not direct_tls:
            options = {"tls_context": context, "require_starttls": True}
        options |= {"authenticator": inbox.authenticate}
        # Of TLS from the first byte aiosmtpd does not know, and warns.
        options |= {"auth_require_tls": False} if direct_tls else {"auth_required": auth_required}
        server = await loop.create_server(
            lambda: begin(options),
            *("localhost", 0),
            ssl=context if direct_tls else None,
        )
        servers.append(server)
        setting(
            smtp_host="localhost", smtp_port=server.sockets[0].getsockname()[1],
            smtp_from="The Mill <mill@example.org>", smtp_ca_file=tmp_path / "ca.pem", smtp_timeout_s=10,
        )  # fmt: skip

    yield start
    for server in servers:
        server.close()
    for talk in talks:
        if talk.transport is not None:
            talk.transport.close()
    await asyncio.sleep(0)  # the transports close in the next turn of the loop


def parsed(content):
    return email.message_from_bytes(content, policy=email.policy.default)


# ---- sending


async def test_a_message_with_attachments_arrives_over_starttls(attempts, serve, inbox):
    await serve()
    files = [attempts.sample(SAMPLES / "rocket.jpg"), attempts.file(b"a,b\n1,2\n", "größe\r\n.csv")]
    done = await attempts.arun(
        send, *files, to=["ann@example.org"], cc=["bob@example.org"], bcc=["eve@example.org"],
        reply_to="me@example.org",
        subject="Rapport {{ n }} für {{ who }}", text="Hi {{ who }}", html="<b>{{ who }}</b>",
        data={"n": 7, "who": "Ann & <Co>"},
    )  # fmt: skip
    [(envelope, encrypted)] = inbox.letters
    assert encrypted
    assert envelope.mail_from == "mill@example.org"
    assert envelope.rcpt_tos == ["ann@example.org", "bob@example.org", "eve@example.org"]
    message = parsed(envelope.content)
    assert message["Subject"] == "Rapport 7 für Ann & <Co>"
    assert (message["To"], message["Cc"], message["Bcc"]) == ("ann@example.org", "bob@example.org", None)
    assert message["From"] == "The Mill <mill@example.org>"
    assert message["Message-ID"] == done.result["message_id"] == "<0198-job@example.org>"
    assert message.get_body(("plain",)).get_content().strip() == "Hi Ann & <Co>"
    assert message.get_body(("html",)).get_content().strip() == "<b>Ann &amp; &lt;Co&gt;</b>"
    attachments = list(message.iter_attachments())
    assert [one.get_filename() for one in attachments] == ["rocket.jpg", "größe.csv"]
    assert attachments[0].get_content_type() == "image/jpeg"
    assert attachments[0].get_content() == (SAMPLES / "rocket.jpg").read_bytes()
    assert done.result["sent"]
    assert (done.result["refused"], done.outputs) == ({}, [])


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_it_logs_in_with_the_settings(attempts, serve, setting, inbox, tls):
    await serve(direct_tls=tls == "tls", auth_required=True)
    setting(smtp_tls=tls, smtp_username="mill", smtp_password=PASSWORD)
    await attempts.arun(send, **MESSAGE)
    assert (inbox.logins, len(inbox.letters)) == (["mill"], 1)


async def test_html_alone_is_a_message_too(attempts, serve, inbox):
    await serve()
    await attempts.arun(send, to=["a@example.org"], subject="x", html="<p>hi</p>")
    message = parsed(inbox.letters[0][0].content)
    assert message.get_content_type() == "text/html"
    assert message.get_content().strip() == "<p>hi</p>"


@pytest.mark.parametrize("params", [{}, {"dry_run": True}])
async def test_without_a_server_or_on_wish_the_message_is_written_to_a_file(attempts, serve, inbox, params):
    if params:
        await serve()
    done = await attempts.arun(send, attempts.file(b"1", "a.txt"), **MESSAGE, bcc=["eve@example.org"], **params)
    assert done.outputs[0].name == "message.eml"
    message = parsed(done.output.read_bytes())
    assert (message["Subject"], message["Bcc"]) == ("Hello", None)
    assert (done.result["sent"], done.result["recipients"]) == (False, ["ann@example.org", "eve@example.org"])
    assert inbox.letters == []


# ---- refusals


@pytest.mark.parametrize(
    ("where", "answer", "code"),
    [
        ("ann@example.org", "550 no such user", "recipients_refused"), ("ann@example.org", "450 greylisted", None),
        ("DATA", "554 spam", "smtp_refused"), ("DATA", "451 try later", None),
    ],
)  # fmt: skip
async def test_a_temporary_refusal_is_tried_again_and_a_permanent_one_is_not(
    attempts, serve, inbox, where, answer, code
):
    await serve()
    inbox.answers[where] = answer
    if code is None:
        with pytest.raises(Retry, match=answer):
            await attempts.arun(send, **MESSAGE)
    else:
        fail = await attempts.arefusal(send, **MESSAGE)
        assert (fail.code, answer in str(fail)) == (code, True)
    assert inbox.letters == []


async def test_those_who_are_refused_beside_others_are_named(attempts, serve, inbox):
    await serve()
    inbox.answers["bob@example.org"] = "550 no such user"
    done = await attempts.arun(send, **MESSAGE, cc=["bob@example.org"])
    assert done.result["sent"]
    assert done.result["refused"] == {"bob@example.org": "550 no such user"}
    assert len(inbox.letters) == 1


async def test_a_wrong_password_fails_and_is_not_told(attempts, serve, setting):
    await serve(auth_required=True)
    setting(smtp_username="mill", smtp_password="wrong-secret")  # noqa: S106
    fail = await attempts.arefusal(send, **MESSAGE)
    assert (fail.code, "wrong-secret" in str(fail)) == ("smtp_login_refused", False)


async def test_a_certificate_that_is_not_trusted_fails(attempts, serve, setting, tmp_path, inbox):
    await serve()
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    setting(smtp_ca_file=tmp_path / "other.pem", smtp_username="mill", smtp_password=PASSWORD)
    fail = await attempts.arefusal(send, **MESSAGE)
    assert (fail.code, "certificate" in str(fail)) == ("smtp_settings", True)
    assert inbox.logins == []


async def test_a_server_without_starttls_gets_neither_message_nor_password(attempts, serve, setting, inbox):
    await serve(offers_tls=False)
    setting(smtp_username="mill", smtp_password=PASSWORD)
    assert (await attempts.arefusal(send, **MESSAGE)).code == "smtp_settings"
    setting(smtp_tls="none")
    assert (await attempts.arefusal(send, **MESSAGE)).code == "smtp_settings"
    assert (inbox.letters, inbox.logins) == ([], [])


async def test_a_server_that_is_not_there_is_tried_again(attempts, setting):
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    setting(smtp_host="127.0.0.1", smtp_port=port)
    with pytest.raises(Retry, match="cannot be reached"):
        await attempts.arun(send, **MESSAGE)


def test_the_password_is_never_shown(setting):
    setting(smtp_password="s3cret")  # noqa: S106
    settings = load_settings()
    assert "s3cret" not in repr(settings) + settings.model_dump_json() + str(settings.model_dump())


# ---- bad input


@pytest.mark.parametrize("data", ["a\r\nBcc: eve@example.org", "a\nb", "a\0b", "a\u2028b"])
async def test_a_subject_cannot_add_a_header(attempts, data):
    for subject in (data, "{{ x }}"):
        fail = await attempts.arefusal(send, to=["a@example.org"], subject=subject, text="x", data={"x": data})
        assert fail.code == "header_injection"


@pytest.mark.parametrize(
    "address",
    ["a@b\r\nBcc: c@d", "a@b, c@d", "Ann <a@b>", "a", "@b", "a@", "a b@c", "a@b c", "a@-", "\u0430@b", "a@b\n", ""],
)
@pytest.mark.parametrize("field", ["to", "cc", "bcc", "reply_to"])
def test_what_is_not_one_bare_address_is_refused(field, address):
    value = address if field == "reply_to" else [address]
    with pytest.raises(InvalidParamsError):
        send.check_params({**MESSAGE, field: value})


async def test_a_message_needs_a_body_and_somebody_to_get_it(attempts):
    assert (await attempts.arefusal(send, to=["a@example.org"], subject="x")).code == "empty_message"
    with pytest.raises(InvalidParamsError):
        send.check_params({**MESSAGE, "to": []})


async def test_attachments_beyond_the_limit_are_refused(attempts, monkeypatch):
    monkeypatch.setattr(mail_message, "MAX_ATTACHMENTS_BYTES", 10)
    files = [attempts.file(b"123456"), attempts.file(b"12345")]
    assert (await attempts.arefusal(send, *files, **MESSAGE)).code == "too_large"


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{{ ''.__class__.__mro__ }}", "template_forbidden"), ("{{ missing }}", "template_data_missing"),
        ("{% for %}", "invalid_template"), ("{{ 'x' * 999999999 }}", "template_forbidden"),
    ],
)  # fmt: skip
async def test_a_template_reaches_nothing_but_its_data(attempts, template, code):
    fail = await attempts.arefusal(send, to=["a@example.org"], subject="x", text=template)
    assert (fail.code, str(fail).startswith("the text ")) == (code, True)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='a' * 1000) %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    ],
)
async def test_a_template_that_never_ends_is_stopped_while_the_loop_goes_on(attempts, monkeypatch, template):
    monkeypatch.setattr(text_rendering, "LIMIT_S", 1.5)
    attempt = asyncio.create_task(attempts.arefusal(send, to=["a@example.org"], subject="x", text=template))
    turns = 0
    while not attempt.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert attempt.result().code in {"template_too_costly", "template_failed"}
    assert turns > 10


@pytest.mark.parametrize("field", ["text", "subject", "html"])
async def test_half_a_character_is_a_failure_that_names_the_place(attempts, field):
    fail = await attempts.arefusal(send, **{**MESSAGE, field: "a {{ half }}"}, data={"half": "\ud83d"}, dry_run=True)
    assert fail.code == "invalid_text"
    assert f"the {field} has half of a character" in str(fail)


async def test_a_domain_of_any_script_is_written_as_mail_servers_know_it(attempts):
    done = await attempts.arun(send, **{**MESSAGE, "to": ["ann@münchen.example"]}, dry_run=True)
    assert b"To: ann@xn--mnchen-3ya.example\r\n" in done.output.read_bytes()
    assert done.result["recipients"] == ["ann@xn--mnchen-3ya.example"]


@pytest.mark.parametrize(
    ("address", "sentence"), [("änn@example.org", "must be ASCII"), ("ann@é" + "x" * 64, "cannot be written in ASCII")]
)
def test_an_address_that_no_server_takes_is_refused_with_the_reason(address, sentence):
    with pytest.raises(InvalidParamsError) as caught:
        send.check_params({**MESSAGE, "to": [address]})
    assert sentence in caught.value.errors[0].message
