"""All that can be set, by environment variables with the prefix `FILEMILL_` or by a flag of the same name."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.cores import usable_cores
from service.environment import PREFIX, frame_of, read_variables, refuse_doubled
from service.errors import SettingsError, plain_reason
from service.sizes import GIB, KIB, MIB, MOST_RESULT_BYTES

HOUR_S, DAY_S = 3600, 86400
_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([a-z]*)", re.IGNORECASE)
_PREFIXES = "kmgtp"
_SHOWN = 100  # characters of a value
_SIZE_UNITS = (
    dict.fromkeys(("", "b", "byte", "bytes"), 1)
    | {f"{one}b": 1000**power for power, one in enumerate(_PREFIXES, 1)}
    | {f"{one}ib": 1024**power for power, one in enumerate(_PREFIXES, 1)}
)


def _read_size(value: Any) -> Any:
    """Return the bytes of a text such as `1048576`, `512 KiB` or `1.5GB`; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    factor = _SIZE_UNITS.get(found[2].lower()) if found else None
    count = Decimal(found[1]) * factor if found and factor else Decimal("NaN")
    if not count.is_finite() or count % 1:
        raise PydanticCustomError("size", "input should be whole bytes, such as 1048576, 512 KiB or 10 GB")
    return int(count)


Bytes = Annotated[int, BeforeValidator(_read_size)]


class _Environment(PydanticBaseSettingsSource):
    """Gives the settings that the environment really sets."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - theirs
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return _texts_by_field(read_variables(os.environ).texts)


class Settings(BaseSettings):
    """The settings. Durations are in seconds (`_s`), sizes in bytes (`_bytes`) or with a unit, such as `10 GiB`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    data_dir: Path = Field(Path("filemill-data"), description="folder of the database and of all files")
    host: str = Field("127.0.0.1", description="address that the server listens on")
    port: int = Field(8000, ge=0, le=65535, description="port that the server listens on; 0 picks a free one")
    url: str = Field("http://127.0.0.1:8000", description="server that the client commands talk to")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")
    log_format: Literal["text", "json"] = Field("text", description="log lines for people or for programs")

    processors: str = Field(
        "", description="modules (pkg.module) and files (./file.py) with your processors, by commas"
    )
    consumers: int = Field(100, ge=1, le=1000, description="`async def` jobs that run at the same time")
    child_processes: int = Field(
        default_factory=usable_cores,
        ge=1,
        le=256,
        description="`def` jobs that run at the same time, each in a process; default: cores that may be used",
    )
    job_memory_limit_bytes: Bytes = Field(
        2 * GIB,
        ge=64 * MIB,
        description="memory of a `def` attempt and all that it starts, if none is given",
    )
    job_cpu_limit_s: float | None = Field(
        None,
        ge=1,
        le=7 * DAY_S,
        description="processor time of a `def` attempt and all that it starts; default: no limit but that of time",
    )
    job_file_limit_bytes: Bytes = Field(40 * GIB, ge=MIB, description="largest file that a `def` attempt may write")
    jobs_per_child: int = Field(1000, ge=1, description="jobs after which a child process is replaced by a fresh one")
    queue_capacity: int = Field(1000, ge=1, le=10_000, description="job ids held in memory for each processor")
    job_timeout_s: float = Field(600, gt=0, le=7 * DAY_S, description="time limit of an attempt, if none is given")
    job_max_attempts: int = Field(3, ge=1, le=100, description="attempts of a job, if none are given")
    max_losses: int = Field(
        5, ge=1, le=100, description="deaths of the server in a row, while a job runs, after which the job is failed"
    )
    retry_base_s: float = Field(2, gt=0, le=HOUR_S, description="first delay between attempts; it doubles")
    retry_cap_s: float = Field(HOUR_S, gt=0, le=DAY_S, description="longest delay between attempts")
    shutdown_grace_s: float = Field(20, ge=0, le=HOUR_S, description="time for running jobs at SIGTERM")

    max_upload_bytes: Bytes = Field(10 * GIB, ge=1, description="largest body of a request")
    max_files: int = Field(100, ge=1, le=10_000, description="most files of a job")
    max_fields: int = Field(50, ge=1, le=1000, description="most fields, that are not files, of a form")
    max_field_bytes: Bytes = Field(MIB, ge=1, le=64 * MIB, description="largest field, and largest JSON body")
    max_params_bytes: Bytes | None = Field(
        None, ge=2, le=64 * MIB, description="largest params of a job, as JSON; default: what fits into a field"
    )
    max_metadata_bytes: Bytes | None = Field(
        None, ge=2, le=64 * MIB, description="largest metadata of a job, as JSON; default: what fits into a field"
    )
    max_result_bytes: Bytes = Field(
        MOST_RESULT_BYTES, ge=2, le=MOST_RESULT_BYTES, description="largest result of a job, as JSON; this is the most"
    )
    max_part_header_bytes: Bytes = Field(16 * KIB, ge=256, le=MIB, description="largest headers of one part")
    upload_stall_s: float = Field(30, gt=0, le=HOUR_S, description="silence after which an upload is given up")
    max_wait_s: float = Field(60, gt=0, le=HOUR_S, description="longest that `Prefer: wait` is gone along with")
    durability: Literal["full", "relaxed"] = Field("full", description="what a power cut may take; see the table above")
    min_free_bytes: Bytes = Field(256 * MIB, ge=0, description="free disk space below which uploads are refused")

    outgoing_allow: str = Field(
        "", description="hosts and networks, by commas, that `http.request` may call although they are not public"
    )
    smtp_host: str = Field("", description="mail server; without it, `mail.send` only writes what it would send")
    smtp_port: int = Field(587, ge=1, le=65535, description="port of the mail server")
    smtp_tls: Literal["starttls", "tls", "none"] = Field("starttls", description="how mail is encrypted on its way")
    smtp_username: str = Field("", description="name to log in with at the mail server; without it, no login")
    smtp_password: SecretStr = Field(SecretStr(""), description="password of that login; never shown")
    smtp_from: str = Field("filemill@localhost", description="address that mail is sent from")
    smtp_timeout_s: float = Field(30, gt=0, le=HOUR_S, description="silence after which a mail server is given up")
    smtp_ca_file: Path | None = Field(None, description="certificates to trust at the mail server")

    retention_s: float = Field(7 * DAY_S, gt=0, description="time that finished jobs and their files are kept")
    file_retention_s: float = Field(
        30 * DAY_S, ge=0, description="time that a stored file is kept after no job uses it any more; 0 is for ever"
    )
    idempotency_retention_s: float = Field(DAY_S, gt=0, description="time that idempotency keys are kept")
    prune_interval_s: float = Field(60, gt=0, description="time between two rounds of pruning")

    @property
    def data_folder(self) -> Path:
        """The data folder from the root, without links and `..`; it stays the same when the process moves.

        Raises:
            SettingsError: it lies in the working folder, and that was deleted.
        """
        try:
            return Path(os.path.realpath(self.data_dir))  # unlike `resolve`, it takes links that lead in a circle
        except FileNotFoundError:
            raise SettingsError("FILEMILL_DATA_DIR: the working folder is gone; name a path from the root") from None

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # the others come by name
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        **_sources: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Environment(settings_cls)


def load_settings(environ: Mapping[str, str] | None = None, **flags: Any) -> Settings:
    """Read the settings; a flag that is not None wins over the environment.

    A variable that is empty is not set. One that Kubernetes makes of a Service is no setting: see `read_variables`.

    Raises:
        SettingsError: a variable with the prefix is unknown, or a value is not valid.
    """
    environ = os.environ if environ is None else environ
    texts = read_variables(environ).texts
    given = {name: value for name, value in flags.items() if value is not None}
    _refuse_unknown(environ)
    refuse_doubled(environ)
    values = _texts_by_field(texts) | given
    if wrong := [*_framed([one for one in values if one not in given], values), *_empty(given)]:
        raise SettingsError("; ".join(wrong))
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentences(error))) from None


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the settings that are never shown."""
    secret = {environment_name(name) for name in Settings.model_fields if _kind_of(name) == "secret"}
    return {name: value for name, value in environ.items() if name.upper() not in secret}


def environment_name(field: str) -> str:
    """Return the variable of a setting: `FILEMILL_DATA_DIR` for `data_dir`."""
    return PREFIX + field.upper()


def _texts_by_field(texts: Mapping[str, str]) -> dict[str, str]:
    names = {environment_name(name): name for name in Settings.model_fields}
    return {names[variable]: text for variable, text in texts.items() if variable in names}


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    bare = [name.upper() for name in Settings.model_fields]
    known = [environment_name(name) for name in Settings.model_fields]
    links = read_variables(environ).links
    for name in environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known and name not in links:
            # without what they all begin with, or everything would look alike
            near = [PREFIX + one for one in difflib.get_close_matches(name.upper().removeprefix(PREFIX), bare, n=1)]
            hint = f"; did you mean {near[0]}?" if near else "; `filemill settings` lists them all"
            raise SettingsError(f"{name} is not a setting{hint}")


def _framed(fields: Iterable[str], texts: Mapping[str, str]) -> Iterator[str]:
    """Say which values have something around them that hardly belongs to them; around numbers, blanks do no harm."""
    for field in fields:
        if (found := frame_of(texts[field], _kind_of(field))) is not None:
            yield f"{environment_name(field)}: {found}"


def _kind_of(field: str) -> Literal["text", "number", "secret"]:
    kind = Settings.model_fields[field].annotation
    if kind is SecretStr:
        return "secret"
    return "text" if kind in {str, Path, Path | None} or get_origin(kind) is Literal else "number"


def _empty(flags: Mapping[str, Any]) -> Iterator[str]:
    """Say which flags have no text, but for those that may have none."""
    for name, value in flags.items():
        if value == "" and Settings.model_fields[name].get_default(call_default_factory=True) != "":
            yield f"{environment_name(name)}: --{name.replace('_', '-')} is empty; give it a value, or leave it away"


def _sentences(error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        field = str(item["loc"][0])
        value = "" if _kind_of(field) == "secret" else f" (it is {str(item['input'])[:_SHOWN]!r})"
        reason = plain_reason(item["msg"])
        yield f"{environment_name(field)}: {reason[:1].lower()}{reason[1:]}{value}"
