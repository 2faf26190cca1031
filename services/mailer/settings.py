"""What the mailer is told from outside."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class MailerSettings(BaseSettings):
    """Settings of the mailer, from the environment with the prefix `DRIPLINE_`."""

    model_config = SettingsConfigDict(env_prefix="DRIPLINE_", env_file=".env", frozen=True, extra="ignore")

    smtp_url: SecretStr  # smtp://user:pass@host:587 or smtps://…
    public_url: str = "http://127.0.0.1:8300"  # where readers reach the pages that the links in mails lead to
    allow_private_webhooks: bool = False  # webhooks may reach the operator's own network, also over plain http
    sole_owner: bool = False  # no other process works on this database: what a crash left in hand is free at the start
