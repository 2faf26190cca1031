"""What the console is told from outside."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ConsoleSettings(BaseSettings):
    """Settings of the console, from the environment with the prefix `DRIPLINE_`."""

    model_config = SettingsConfigDict(env_prefix="DRIPLINE_", env_file=".env", frozen=True, extra="ignore")

    console_password_hash: str  # as `session.hash_password` writes it
    api_key: SecretStr  # the secret key (role admin) with which the pages ask the services
    public_url: str = ""  # with https, the session's cookie travels by https only
    session_hours: int = 12
