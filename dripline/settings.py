"""What `dripline run` is told from outside, beside its options."""

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    log_format: str = "text"
