"""A Kafka broker behind locks, for tests: TLS, client certificates, and accounts by PLAIN and by SCRAM-SHA-512."""

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from deploy.servers import Kafka, Missing, fetch_jars, free_port
from tests.servers import _folder, _started

USER, PASSWORD = "dripline", "tea-not-coffee"
LISTENERS = {"TLS": "SSL", "MUTUAL": "SSL", "LOCKED": "SASL_SSL", "CLEAR": "SASL_PLAINTEXT"}
"""Besides PLAINTEXT: by certificate authority; by client certificate too; by account over TLS; by account alone."""


@dataclass(frozen=True)
class Authority:
    """Signs certificates by the `openssl` of the machine; everything lies as PEM files in one folder."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        _openssl(*self._new("authority"), "-x509", "-subj", f"/CN={self.name}", "-addext", "keyUsage=keyCertSign", cwd=self.folder)

    @property
    def ca_file(self) -> str:
        return str(self.folder / "authority.pem")

    def sign(self, name: str, host: str = "127.0.0.1") -> tuple[str, str]:
        """A certificate for the name, valid at this host: its file, and its key's."""
        kind = "IP" if host[0].isdigit() else "DNS"
        by = ("-CA", "authority.pem", "-CAkey", "authority.key")
        names = ("-addext", f"subjectAltName={kind}:{host}", "-addext", "basicConstraints=critical,CA:FALSE")
        _openssl(*self._new(name), "-x509", *by, "-subj", f"/CN={name}", *names, cwd=self.folder)
        return str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key")

    def _new(self, name: str) -> tuple[str, ...]:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
        return ("req", *curve, "-days", "3650", "-keyout", f"{name}.key", "-out", f"{name}.pem")


class SecuredKafka(Kafka):
    """One broker with a listener for each way in."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, heap="256m")
        self.ports = {name: free_port() for name in LISTENERS}

    def at(self, listener: str) -> str:
        return f"127.0.0.1:{self.ports[listener]}"

    @cached_property
    def authority(self) -> Authority:
        return Authority(self.folder / "certificates", "the authority of this test")

    def start(self, *, wait: bool = True) -> None:
        """As any broker, with the SCRAM account in the data folder."""
        if not (self.folder / "data" / "meta.properties").exists():
            certificate, key = self.authority.sign("broker")
            Path(certificate).with_name("broker-chain.pem").write_text(Path(key).read_text() + Path(certificate).read_text())
            settings = self.folder / "server.properties"
            settings.write_text(self._settings())
            account = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
            tool = [shutil.which("java") or "java", "-cp", f"{fetch_jars()}/*", "kafka.tools.StorageTool"]
            identity = self._quorum.cluster_id
            made = [*tool, "format", "-t", identity, "-c", str(settings), "--add-scram", account]
            subprocess.run(made, check=True, capture_output=True)
        super().start(wait=wait)

    def _settings(self) -> str:
        """What is said later goes before what was said earlier."""
        controller = self._quorum.controllers[1]
        listeners = [f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()]
        plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        accounts = [
            line
            for name in ("locked", "clear")
            for line in (
                f"listener.name.{name}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512",
                f"listener.name.{name}.plain.sasl.jaas.config={plain}",
                f"listener.name.{name}.scram-sha-512.sasl.jaas.config={scram}",
            )
        ]
        protocols = "".join(f",{name}:{protocol}" for name, protocol in LISTENERS.items())
        ours = (
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller},{','.join(listeners)}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port},{','.join(listeners)}",
            f"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}",
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={self.authority.folder / 'broker-chain.pem'}",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={self.authority.ca_file}",
            "listener.name.mutual.ssl.client.auth=required",
            *accounts,
            "",
        )
        return super()._settings() + "\n".join(ours)


@cache
def secured_kafka() -> SecuredKafka:
    """One for the whole test run; skips or fails as every server does."""
    server: SecuredKafka = _started(SecuredKafka(_folder("secured-kafka")))
    return server


def _openssl(*words: str, cwd: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise Missing("the certificates of this test are made by openssl. Install it: sudo apt install openssl")
    subprocess.run([program, *words], check=True, capture_output=True, cwd=cwd)
