"""The mail server (SMTP, RFC 5321): one message to it, and what its answers mean for the job."""

import ssl
from email.message import EmailMessage
from email.utils import parseaddr
from typing import TYPE_CHECKING, NoReturn

from service.processors.base import Fail, Retry
from service.settings import Settings
from service.tls import open_tls

if TYPE_CHECKING:
    from aiosmtplib import SMTPRecipientRefused

_TEMPORARY = range(400, 500)


async def send_message(settings: Settings, message: EmailMessage, recipients: list[str]) -> dict[str, str]:
    """Send the message; return the recipients that the server refused while it took others, with its words.

    Raises:
        Retry: the server cannot be reached, or says to come again.
        Fail: it refuses for good, or the settings do not fit it.
    """
    import aiosmtplib  # noqa: PLC0415 - only needed by those who send mail

    if settings.smtp_username and settings.smtp_tls == "none":
        raise Fail("SMTP_TLS is none: a password is not sent in the clear; set starttls or tls", code="smtp_settings")
    tls = None if settings.smtp_tls == "none" else await open_tls(settings.smtp_ca_file)
    try:
        refused, _ = await aiosmtplib.send(
            message,
            sender=parseaddr(settings.smtp_from)[1],
            recipients=recipients,
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_username or None,
            password=settings.smtp_password.get_secret_value() or None,
            timeout=settings.smtp_timeout_s,
            use_tls=settings.smtp_tls == "tls",
            start_tls=settings.smtp_tls == "starttls",
            tls_context=tls,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        _refuse_all(error.recipients)
    except aiosmtplib.SMTPAuthenticationError as error:
        if error.code in _TEMPORARY:
            raise Retry(f"the mail server cannot check the login now ({error.code})") from None
        message_ = f"the mail server refuses the login ({error.code}); check SMTP_USERNAME and SMTP_PASSWORD"
        raise Fail(message_, code="smtp_login_refused") from None
    except aiosmtplib.SMTPResponseException as error:
        _refuse(error.code, error.message)
    except (aiosmtplib.SMTPException, OSError) as error:
        # Without STARTTLS at the server, it is a bare SMTPException.
        if isinstance(error, aiosmtplib.SMTPNotSupported) or type(error) is aiosmtplib.SMTPException:
            message_ = f"the mail server cannot do what the settings ask for: {error} Check SMTP_TLS and SMTP_USERNAME"
            raise Fail(message_, code="smtp_settings") from None
        _unreachable(error)
    return {address: _words(answer.code, answer.message) for address, answer in refused.items()}


def _refuse_all(refusals: list["SMTPRecipientRefused"]) -> NoReturn:
    words = "; ".join(f"{one.recipient}: {_words(one.code, one.message)}" for one in refusals)[:500]
    if any(one.code in _TEMPORARY for one in refusals):
        raise Retry(f"the mail server refuses the recipients for now: {words}")
    raise Fail(f"the mail server refuses all recipients: {words}; check the addresses", code="recipients_refused")


def _refuse(code: int, text: str) -> NoReturn:
    if code in _TEMPORARY:
        raise Retry(f"the mail server refuses for now: {_words(code, text)}")
    raise Fail(f"the mail server refuses the message: {_words(code, text)}", code="smtp_refused")


def _unreachable(error: Exception) -> NoReturn:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            message = f"the certificate of the mail server is not trusted: {cause.verify_message}; see SMTP_CA_FILE"
            raise Fail(message, code="smtp_settings")
        cause = cause.__cause__ or cause.__context__
    raise Retry(f"the mail server cannot be reached: {type(error).__name__}: {error}"[:500])


def _words(code: int, text: str) -> str:
    return f"{code} {' '.join(text.split())[:200]}".strip()
