"""What ingest is told from outside. Read by `main` alone."""

from pathlib import Path

from pydantic import ByteSize, NonNegativeInt, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict


class IngestSettings(BaseSettings):
    """Settings of ingest, from the environment or `.env`, with the prefix `DRIPLINE_`."""

    model_config = SettingsConfigDict(env_prefix="DRIPLINE_", env_file=".env", frozen=True, extra="ignore")

    ingest_memory: PositiveInt = 128 << 20  # bytes of request bodies held at once; beyond it callers are asked to wait (429)
    public_url: str = ""  # where browsers reach us, told to Segment's browser client; without it, where its request went

    # What a write key may bring, all of it at once if need be; 0 is no limit. Secret keys have none.
    browser_events_per_key: NonNegativeInt = 120_000  # a minute
    browser_events_per_ip: NonNegativeInt = 3_000  # a minute, from one IP address
    browser_events_per_address: NonNegativeInt = 120  # an hour, that name one email address
    trusted_proxies: NonNegativeInt = 0  # how many proxies of ours stand in front and write X-Forwarded-For

    # Under `serve`: where events wait while Kafka is away. A folder on a disk that stays, for each replica one of its own.
    spool_dir: Path | None = None  # without it ingest says 503 while Kafka is away
    spool_bytes: ByteSize = ByteSize(1 << 30)  # what may wait there; beyond it ingest says 503
