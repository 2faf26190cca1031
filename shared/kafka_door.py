"""How Kafka lets us in, and what to say where it does not: every wrong setting of TLS or SASL by its name, with the remedy.

aiokafka logs why a broker turned it away and raises only that it found none; so where it found none, one is asked directly.
"""

import asyncio
import ssl
from socket import gaierror

from aiokafka import errors as kafka
from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.protocol.metadata import MetadataRequest

from shared.errors import ConfigurationError, DriplineError, Outage
from shared.kafka_cluster import Cluster


async def knock(cluster: Cluster) -> None:
    """Be let in by one of the brokers that we know. Raises ConfigurationError where a setting is wrong, Outage where none answers."""
    shut: list[DriplineError] = []
    for host, port, _ in collect_hosts(cluster.bootstrap):
        try:
            await _enter(cluster, host, port)
        except (kafka.KafkaError, OSError, TimeoutError) as error:
            shut.append(_translated(error, cluster, f"{host}:{port}"))
        else:
            return
    raise next((wrong for wrong in shut if isinstance(wrong, ConfigurationError)), shut[0])


async def why_shut(cluster: Cluster, error: BaseException) -> Outage:
    """Why nobody lets us in while we run: told, and tried again, for what was right at the start may be right again."""
    try:
        await knock(cluster)
    except DriplineError as wrong:
        return Outage(str(wrong))
    return Outage(f"Kafka at {cluster.bootstrap} does not answer: {error!r}")


async def _enter(cluster: Cluster, host: str, port: int) -> None:
    """Connect, prove who we are, and ask something: only then would a broker that wants TLS or an account hang up."""
    options = {name: value for name, value in cluster.options().items() if name != "bootstrap_servers"}
    connection = AIOKafkaConnection(host, port, **options)
    try:
        await connection.connect()
        await connection.send(MetadataRequest([]))
    finally:
        closing = connection.close()
        if closing is not None:
            await asyncio.wait([closing], timeout=0.1)  # for ever open where it never was


def _translated(error: BaseException, cluster: Cluster, at: str) -> DriplineError:
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _untrusted(cause, at)
    if isinstance(cause, ssl.SSLError):
        return ConfigurationError(_of_tls(cause, cluster, at))
    if isinstance(error, kafka.SaslAuthenticationFailed):
        names = "DRIPLINE_KAFKA_SASL_USERNAME and DRIPLINE_KAFKA_SASL_PASSWORD"
        return ConfigurationError(f"{names}: Kafka at {at} does not know this account, or not with this password ({cluster.mechanism})")
    if isinstance(error, kafka.UnsupportedSaslMechanismError):
        return ConfigurationError(f"DRIPLINE_KAFKA_SASL_MECHANISM: Kafka at {at} does not take {cluster.mechanism}; set one that it takes")
    if isinstance(error, kafka.IllegalSaslStateError):
        return ConfigurationError(f"DRIPLINE_KAFKA_SECURITY_PROTOCOL: Kafka at {at} asks for no account there; not {cluster.protocol}")
    if isinstance(error, gaierror):
        return Outage(f"DRIPLINE_KAFKA_BOOTSTRAP: nobody knows the name in {at} ({error.strerror})")
    if isinstance(error, kafka.KafkaConnectionError | ConnectionResetError):
        return Outage(
            f"Kafka at {at} hangs up at once: it may be starting or stopping, or that port expects another "
            f"DRIPLINE_KAFKA_SECURITY_PROTOCOL than {cluster.protocol}: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
        )
    return Outage(f"Kafka at {at} (DRIPLINE_KAFKA_BOOTSTRAP) does not answer: {error or repr(error)}")


def _untrusted(error: ssl.SSLCertVerificationError, at: str) -> ConfigurationError:
    if "mismatch" in error.verify_message:
        return ConfigurationError(f"DRIPLINE_KAFKA_BOOTSTRAP: Kafka at {at} shows a certificate for another name ({error.verify_message})")
    return ConfigurationError(
        f"DRIPLINE_KAFKA_CA_FILE: the certificate of Kafka at {at} is not signed by an authority we trust ({error.verify_message}); "
        "name the PEM file of the authority that signed it"
    )


def _of_tls(error: ssl.SSLError, cluster: Cluster, at: str) -> str:
    if "ALERT" in (error.reason or "").upper():  # the broker's own words
        which = "does not accept our certificate" if cluster.cert_file else "wants a certificate of ours"
        return f"DRIPLINE_KAFKA_CERT_FILE and DRIPLINE_KAFKA_KEY_FILE: Kafka at {at} {which} ({error.reason})"
    return f"DRIPLINE_KAFKA_SECURITY_PROTOCOL: Kafka at {at} does not speak TLS on that port ({error.reason})"
