"""What journeys is told from outside. Read by `main` alone."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class JourneysSettings(BaseSettings):
    """Journeys needs no setting of its own: all it does is told by the playbook."""

    model_config = SettingsConfigDict(env_prefix="DRIPLINE_", env_file=".env", frozen=True, extra="ignore")
