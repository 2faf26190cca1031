"""What ingest is told from outside. Read by `main` alone."""

from pydantic import PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict


class IngestSettings(BaseSettings):
    """Settings of ingest, from the environment or `.env`, with the prefix `DRIPLINE_`."""

    model_config = SettingsConfigDict(env_prefix="DRIPLINE_", env_file=".env", frozen=True, extra="ignore")

    ingest_memory: PositiveInt = 128 << 20  # bytes of request bodies held at once; beyond it callers are asked to wait (429)
