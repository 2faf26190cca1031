"""What `dripline run` is told from outside, beside its options."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, HttpUrl, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigurationError
from shared.kafka_cluster import Cluster, Mechanism, Protocol

SHORTEST_SECRET = 32
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


class KafkaSettings(BaseSettings):
    """Where Kafka is, from environment or `.env`, with the prefix `DRIPLINE_`."""

    model_config = SettingsConfigDict(env_prefix="DRIPLINE_", env_file=".env", frozen=True, extra="ignore")

    kafka_bootstrap: str  # host:9092, several with commas
    kafka_security_protocol: Protocol = "PLAINTEXT"
    kafka_sasl_mechanism: Mechanism = "PLAIN"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ca_file: str | None = None
    kafka_cert_file: str | None = None
    kafka_key_file: str | None = None
    kafka_instance: str | None = None  # names this replica in its groups: restarted, it gets its partitions back at once
    kafka_session_seconds: float = Field(default=20, ge=6, le=300)  # a replica silent for so long loses its partitions
    topic_prefix: str = "dripline"

    def cluster(self) -> Cluster:
        """How to reach Kafka."""
        password = self.kafka_sasl_password
        return Cluster(
            bootstrap=self.kafka_bootstrap,
            prefix=self.topic_prefix,
            instance=self.kafka_instance,
            session_seconds=self.kafka_session_seconds,
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_sasl_username,
            password=password.get_secret_value() if password else None,
            ca_file=self.kafka_ca_file,
            cert_file=self.kafka_cert_file,
            key_file=self.kafka_key_file,
        )


class ServeSettings(KafkaSettings):
    """Settings of `serve`, and of `migrate` for it, from environment or `.env`, with the prefix `DRIPLINE_`; every replica has the same."""

    database_url: SecretStr  # postgresql+asyncpg://user:pass@host:5432/dripline
    kafka_partitions: int = 12  # of each topic, when `migrate` makes them
    kafka_replicas: int = 3
    secret_key: SecretStr  # signs links, hand-offs and sessions; the same for all
    api_key: SecretStr | None = None  # fixes a secret key, for scripts, and for the console's own questions
    write_key: SecretStr | None = None
    drain_seconds: float = Field(2.0, ge=0, le=60)  # how long a process that was told to stop still answers, not ready any more
    public_url: str = "http://127.0.0.1:8300"
    console_password: SecretStr | None = None
    failpoints: str = ""  # of tests alone: where this process ends itself (shared/failpoints.py)
    ingest_url: str = "http://127.0.0.1:8301"
    scoring_url: str = "http://127.0.0.1:8302"
    journeys_url: str = "http://127.0.0.1:8303"
    mailer_url: str = "http://127.0.0.1:8304"
    log_format: Literal["text", "json"] = "json"

    @field_validator("secret_key")
    @classmethod
    def _is_secret(cls, given: SecretStr) -> SecretStr:
        if len(given.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"at least {SHORTEST_SECRET} characters that nobody guesses: `openssl rand -hex 32` makes some")
        return given

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, given: SecretStr) -> SecretStr:
        if not given.get_secret_value().startswith("postgresql+asyncpg://"):
            raise ValueError("postgresql+asyncpg://user:password@host:5432/name; on SQLite there is `dripline run`")
        return given


def read_settings(settings: type[Settings], **given: Any) -> Settings:
    """The settings of this kind; what is `given` goes before the environment. Raises ConfigurationError, naming each bad variable."""
    try:
        return settings(**given)
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        troubles = [f"{prefix}{'_'.join(map(str, found['loc'])).upper()}: {found['msg']}" for found in error.errors(include_input=False)]
        raise ConfigurationError("; ".join(troubles)) from error
