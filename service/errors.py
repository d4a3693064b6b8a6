"""Every way that Filemill says no.

An error is a class: its docstring is the title that a client reads, `code` is the stable name that programs
test for, `http_status` is how the web layer answers. The message is the detail: one sentence that says what
was wrong and what would be accepted.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

_MOST_NAMES, _NAME_CHARS = 10, 100


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with one field; `field` is a dotted path such as `params.width`."""

    field: str
    code: str
    message: str


def plain_reason(message: str) -> str:
    """Return what a check said, without what pydantic puts before the words of a function."""
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def names_of(errors: Sequence[FieldError]) -> str:
    """Return the names of the fields that are wrong, for a sentence: the first ten, and how many there are more."""
    names = ", ".join(one.field[:_NAME_CHARS] for one in errors[:_MOST_NAMES])
    return names + (f" and {len(errors) - _MOST_NAMES} more" if len(errors) > _MOST_NAMES else "")


class FilemillError(Exception):
    """Something went wrong inside the service."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500

    def __init__(self, detail: str = "", *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail or self.title())
        self.detail = detail or self.title()
        self.errors = tuple(errors)

    @classmethod
    def title(cls) -> str:
        """Return the first line of the docstring, without its full stop."""
        return (inspect.getdoc(cls) or cls.__name__).splitlines()[0].rstrip(".")


def error_classes(root: type[FilemillError] = FilemillError) -> Iterator[type[FilemillError]]:
    """Yield `root` and every error below it: the table of codes in the documentation."""
    yield root
    for child in root.__subclasses__():
        yield from error_classes(child)


# ---- a request that cannot be taken


class BadRequestError(FilemillError):
    """The request makes no sense."""

    code = "bad_request"
    http_status = 400


class MalformedMultipartError(BadRequestError):
    """The multipart body is broken."""

    code = "malformed_multipart"


class InvalidCursorError(BadRequestError):
    """The cursor is not one that this server gave."""

    code = "invalid_cursor"


class InvalidEventIdError(BadRequestError):
    """The event is not one that this server sent."""

    code = "invalid_event_id"


class ClientDisconnectedError(BadRequestError):
    """The client went away before the body was complete."""

    code = "client_disconnected"


class UploadStalledError(FilemillError):
    """The body stopped arriving."""

    code = "upload_stalled"
    http_status = 408


class HeadersStalledError(FilemillError):
    """The headers of the request stopped arriving."""

    code = "headers_stalled"
    http_status = 408


class PayloadTooLargeError(FilemillError):
    """The body is larger than the server takes."""

    code = "payload_too_large"
    http_status = 413


class FieldTooLargeError(PayloadTooLargeError):
    """A form field is larger than the server takes."""

    code = "field_too_large"


class TooManyPartsError(PayloadTooLargeError):
    """The form has more parts than the server takes."""

    code = "too_many_parts"


class PartHeadersTooLargeError(FilemillError):
    """The headers of a part are larger than the server takes."""

    code = "part_headers_too_large"
    http_status = 431


class RequestHeadersTooLargeError(FilemillError):
    """The headers of the request are larger than the server takes."""

    code = "request_headers_too_large"
    http_status = 431


class UnsupportedContentTypeError(FilemillError):
    """The content type of the request cannot be read."""

    code = "unsupported_content_type"
    http_status = 415


class UnsupportedEncodingError(FilemillError):
    """The body is encoded in a way that the server does not decode."""

    code = "unsupported_encoding"
    http_status = 415


class InvalidRequestError(FilemillError):
    """A field of the request is not valid."""

    code = "invalid_request"
    http_status = 422


class InvalidParamsError(InvalidRequestError):
    """The params do not fit the processor."""

    code = "invalid_params"


class FileCountError(InvalidRequestError):
    """The processor takes another number of files."""

    code = "wrong_file_count"


class MediaTypeNotAcceptedError(InvalidRequestError):
    """The processor does not take files of this type."""

    code = "media_type_not_accepted"


class ProcessorUnavailableError(InvalidRequestError):
    """The processor needs something that is not installed here."""

    code = "processor_unavailable"


class UnknownFileError(InvalidRequestError):
    """A file that the job names is not stored here."""

    code = "unknown_file"


class IdempotencyKeyReusedError(InvalidRequestError):
    """The idempotency key was used with another request."""

    code = "idempotency_key_reused"


class PreconditionFailedError(FilemillError):
    """The file is not the one that the request is for."""

    code = "precondition_failed"
    http_status = 412


class RangeNotSatisfiableError(FilemillError):
    """The range lies outside the file."""

    code = "range_not_satisfiable"
    http_status = 416

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"the file has {size_bytes} bytes; ask for a range that begins inside it")
        self.size_bytes = size_bytes


# ---- what is not there, and what cannot be done now


class NotFoundError(FilemillError):
    """There is nothing under this address."""

    code = "not_found"
    http_status = 404


class MethodNotAllowedError(FilemillError):
    """The address does not take this method."""

    code = "method_not_allowed"
    http_status = 405


class UnknownProcessorError(NotFoundError):
    """There is no such processor."""

    code = "unknown_processor"


class JobNotFoundError(NotFoundError):
    """There is no such job."""

    code = "job_not_found"


class StoredFileNotFoundError(NotFoundError):
    """There is no such file."""

    code = "file_not_found"


class ConflictError(FilemillError):
    """The request does not fit what is there."""

    code = "conflict"
    http_status = 409


class WrongStateError(ConflictError):
    """The job's state forbids this."""

    code = "wrong_state"


class InputGoneError(ConflictError):
    """An input file of the job was deleted."""

    code = "input_gone"


class FileInUseError(ConflictError):
    """An unfinished job needs this file."""

    code = "file_in_use"


class IdempotencyKeyInFlightError(ConflictError):
    """A request with this idempotency key is still being taken."""

    code = "idempotency_key_in_flight"


# ---- the server's own trouble


class StorageFailedError(FilemillError):
    """The storage could not keep the file, or give it back."""

    code = "storage_failed"


class StorageFullError(StorageFailedError):
    """The storage has no room left."""

    code = "storage_full"
    http_status = 507


class FileChangedError(StorageFailedError):
    """The stored bytes are not those that were uploaded."""

    code = "file_changed"


class DatabaseUnavailableError(FilemillError):
    """The database could not be written or read."""

    code = "database_unavailable"
    http_status = 503


class NotWorkingError(FilemillError):
    """A part of the server that jobs need has ended."""

    code = "not_working"
    http_status = 503


class ShuttingDownError(FilemillError):
    """The server is stopping."""

    code = "shutting_down"
    http_status = 503


# ---- reasons not to start


class StartError(FilemillError):
    """The service cannot start."""

    code = "cannot_start"


class SettingsError(StartError):
    """A setting is unknown or not valid."""

    code = "invalid_settings"


class DataDirLockedError(StartError):
    """Another server owns the data folder."""

    code = "data_dir_locked"


class DatabaseTooNewError(StartError):
    """The database was written by a newer version."""

    code = "database_too_new"


class DatabaseMissingError(StartError):
    """The database is gone, and its files are still there."""

    code = "database_missing"


class ProcessorLoadError(StartError):
    """A processor cannot be loaded."""

    code = "processor_load_failed"
