"""mail.send: a message with attachments."""

import asyncio
from typing import Annotated, Any

import aiofiles
from pydantic import BeforeValidator, Field, JsonValue

from service.catalogue.mail.message import Letter, built
from service.catalogue.mail.server import send_message
from service.catalogue.server import ServerSettings
from service.catalogue.text.rendering import TemplateText, rendered
from service.clock import SystemClock
from service.processors.base import Fail, JobContext, processor


def _with_ascii_domain(address: str) -> str:
    """Return the address with its domain as mail servers know it (IDNA, RFC 5890)."""
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        raise ValueError("the part before the @ must be ASCII; ask for another address of this person")
    try:
        return address if domain.isascii() else f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        raise ValueError(f"the domain {domain!r} cannot be written in ASCII, as mail servers need it") from None


Recipient = Annotated[
    str,
    BeforeValidator(_with_ascii_domain, json_schema_input_type=str),
    Field(max_length=254, pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$"),
]
Recipients = Annotated[tuple[Recipient, ...], Field(max_length=100)]


@processor("mail.send", min_files=0, requires=["aiosmtplib", "jinja2"], reads_only=True)
async def send(  # noqa: PLR0913 - each one is a param
    job: JobContext,
    *,
    to: Annotated[Recipients, Field(min_length=1)],
    subject: Annotated[str, Field(min_length=1, max_length=2000)],
    text: Annotated[str | None, Field(max_length=1_000_000)] = None,
    html: Annotated[str | None, Field(max_length=1_000_000)] = None,
    data: dict[str, JsonValue] | None = None,
    cc: Recipients = (),
    bcc: Recipients = (),
    reply_to: Recipient | None = None,
    dry_run: bool = False,
    settings: ServerSettings,
) -> dict[str, Any]:
    """Send an e-mail with the input files attached.

    Subject, text and HTML may be Jinja2 templates, filled in with `data`; values in HTML are escaped. It goes over
    the mail server of the SMTP_ settings; without one, and with `dry_run`, it is written to `message.eml` instead.
    A temporary refusal of the mail server is tried again, a permanent one is not.

    Args:
        to: addresses, without names.
        subject: subject; may be a template.
        text: the message as plain text; may be a template.
        html: the message as HTML; may be a template.
        data: values for the templates, by the names that they use.
        cc: addresses that get a copy.
        bcc: addresses that get a copy without the others seeing it.
        reply_to: address that answers go to.
        dry_run: write the message to a file instead of sending it.
    """
    if text is None and html is None:
        raise Fail("give a text or an html, or both", code="empty_message")
    texts = await rendered(_templates(subject, text, html), data or {})
    letter = Letter(
        sender=settings.smtp_from,
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=reply_to,
        subject=texts["subject"],
        text=texts.get("text"),
        html=texts.get("html"),
    )
    message = await asyncio.to_thread(built, letter, job.files, job.id, SystemClock().now())
    facts = {"message_id": message["Message-ID"], "subject": letter.subject, "recipients": letter.recipients}
    if dry_run or not settings.smtp_host:
        async with aiofiles.open(job.output("message.eml"), "wb") as file:
            await file.write(await asyncio.to_thread(message.as_bytes))
        return {"sent": False, "refused": {}, **facts}
    refused = await send_message(settings, message, letter.recipients)
    return {"sent": True, "refused": refused, **facts}


def _templates(subject: str, text: str | None, html: str | None) -> dict[str, TemplateText]:
    templates = {"subject": TemplateText(subject)}
    if text is not None:
        templates["text"] = TemplateText(text)
    if html is not None:
        templates["html"] = TemplateText(html, html=True)
    return templates
