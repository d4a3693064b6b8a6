"""A message as it goes over the wire (RFC 5322), built from texts that others wrote."""

import email.policy
import email.utils
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage

from service.processors.base import Fail, InputFile

MAX_ATTACHMENTS_BYTES = 25 * 1024**2
_POLICY = email.policy.SMTP
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Letter:
    """What is said to whom; the recipients of `bcc` are on the envelope only."""

    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: str | None
    subject: str
    text: str | None
    html: str | None

    @property
    def sender_address(self) -> str:
        """The bare address of the sender."""
        return email.utils.parseaddr(self.sender)[1]

    @property
    def recipients(self) -> list[str]:
        """All who are to get it, each once."""
        return list(dict.fromkeys([*self.to, *self.cc, *self.bcc]))


def built(letter: Letter, attachments: Sequence[InputFile], message_id: str, now: datetime) -> EmailMessage:
    """Return the message. It is read into memory with its attachments, so these are bounded.

    Raises:
        Fail: the attachments are too large, or the subject would add a header.
    """
    _check(letter, attachments)
    message = EmailMessage(policy=_POLICY)
    message["From"] = letter.sender
    message["To"] = ", ".join(letter.to)
    if letter.cc:
        message["Cc"] = ", ".join(letter.cc)
    if letter.reply_to:
        message["Reply-To"] = letter.reply_to
    message["Subject"] = letter.subject
    message["Date"] = email.utils.format_datetime(now)
    # The same at every attempt: who gets it twice can tell.
    message["Message-ID"] = f"<{message_id}@{letter.sender_address.rpartition('@')[2]}>"
    _write(message, letter)
    for file in attachments:
        main, _, sub = file.media_type.partition("/")
        if main in {"message", "multipart", ""}:  # these have rules of their own
            main, sub = "application", "octet-stream"
        name = _CONTROL.sub("", file.name)[:200] or "file"
        message.add_attachment(file.path.read_bytes(), maintype=main, subtype=sub or "octet-stream", filename=name)
    return message


def _write(message: EmailMessage, letter: Letter) -> None:
    if letter.text is None:
        message.set_content(letter.html or "", subtype="html", charset="utf-8")
        return
    message.set_content(letter.text, charset="utf-8")
    if letter.html is not None:
        message.add_alternative(letter.html, subtype="html", charset="utf-8")


def _check_characters(texts: Mapping[str, str | None]) -> None:
    for name, said in texts.items():
        try:
            (said or "").encode()
        except UnicodeEncodeError as error:
            message = f"the {name} has half of a character at place {error.start}; send whole characters"
            raise Fail(message, code="invalid_text") from None


def _check(letter: Letter, attachments: Sequence[InputFile]) -> None:
    if _CONTROL.search(letter.subject):
        message = "the subject has a line break or another control character; it must be one line"
        raise Fail(message, code="header_injection")
    _check_characters({"subject": letter.subject, "text": letter.text, "html": letter.html})
    size_bytes = sum(file.path.stat().st_size for file in attachments)
    if size_bytes > MAX_ATTACHMENTS_BYTES:
        message = f"the attachments have {size_bytes:,} bytes, and at most {MAX_ATTACHMENTS_BYTES:,} are sent"
        raise Fail(f"{message}; send links instead", code="too_large")
