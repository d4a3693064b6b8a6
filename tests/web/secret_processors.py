"""Processors with params that are secret."""

from typing import Annotated

from pydantic import BaseModel, Field, SecretStr

from service import JobContext, processor

Token = Annotated[str, Field(json_schema_extra={"writeOnly": True})]
Password = Annotated[str, Field(json_schema_extra={"format": "password"})]
Word = Annotated[str, Field(pattern="^[a-z]+$")]


class Login(BaseModel):
    """A model with secrets in it."""

    user: str
    password: Password
    next: "Login | None" = None


@processor("t.secret", min_files=0, max_attempts=1)
async def secret(job: JobContext, key: SecretStr, note: str = "") -> str:
    """Open with a key, at the second attempt."""
    job.log("working", note=note)
    if key.get_secret_value() != "hunter2":
        raise ValueError("the wrong key")
    if job.attempt == 1:
        raise ValueError("not the first time")
    return "opened"


@processor("t.secrets", min_files=0)
async def secrets(
    job: JobContext,
    *,
    logins: list[Login] = [],  # noqa: B006 - pydantic copies it
    headers: dict[Word, Token] | None = None,
    pair: tuple[str, Token] | None = None,
    either: Token | int | None = None,
    plain: dict[str, str] | None = None,
) -> None:
    """Take secrets in many places."""
