"""What `dripline run` is told from outside, beside its options."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import HttpUrl, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigurationError

Settings = TypeVar("Settings", bound=BaseSettings)


class RunSettings(BaseSettings):
    """Settings of `run`, from the environment or `.env`, with the prefix `DRIPLINE_`."""

    model_config = SettingsConfigDict(env_prefix="DRIPLINE_", env_file=".env", frozen=True, extra="ignore")

    playbook: Path | None = None
    data_dir: Path = Path(".dripline")
    smtp_url: SecretStr | None = None  # smtp://user:pass@host:587 or smtps://…; unset: mails land in the built-in mailbox
    public_url: str | None = None  # where readers' links lead; unset: where `run` listens
    secret_key: SecretStr | None = None  # signs links and sessions; unset: the folder's own
    api_key: SecretStr | None = None  # fixes the secret key, for scripts and tests
    write_key: SecretStr | None = None  # fixes the write key, for scripts and tests
    allow_private_webhooks: bool = False
    log_format: Literal["text", "json"] = "text"

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, given: str | None) -> str | None:
        if given is not None:
            TypeAdapter(HttpUrl).validate_python(given)
        return given and given.rstrip("/")


def read_settings(settings: type[Settings], **given: Any) -> Settings:
    """The settings of this kind; what is `given` goes before the environment. Raises ConfigurationError, naming each bad variable."""
    try:
        return settings(**given)
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        troubles = [f"{prefix}{'_'.join(map(str, found['loc'])).upper()}: {found['msg']}" for found in error.errors(include_input=False)]
        raise ConfigurationError("; ".join(troubles)) from error
