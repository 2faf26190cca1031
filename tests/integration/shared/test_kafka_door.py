"""TLS and SASL against a real broker with certificates of its own: what is right works, what is wrong is said by its setting's name."""

from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import ConfigurationError, DriplineError, Outage
from shared.kafka_cluster import Cluster
from shared.kafka_door import knock
from shared.kafka_log import KafkaLog
from shared.kafka_topics import Layout, make_topics
from tests.integration.shared.kafka_house import Stored, append, drain
from tests.secured_kafka import PASSWORD, USER, Authority, SecuredKafka, secured_kafka


@pytest.fixture
def kafka() -> SecuredKafka:
    return secured_kafka()


@pytest.fixture
def by_certificate(kafka: SecuredKafka, tmp_path: Path) -> Cluster:
    return Cluster(kafka.at("TLS"), prefix=tmp_path.name, protocol="SSL", ca_file=kafka.authority.ca_file, request_seconds=3)


@pytest.fixture
def by_account(kafka: SecuredKafka, by_certificate: Cluster) -> Cluster:
    return replace(by_certificate, bootstrap=kafka.at("LOCKED"), protocol="SASL_SSL", username=USER, password=PASSWORD)


async def refusal(cluster: Cluster) -> str:
    with pytest.raises(DriplineError) as refused:
        await knock(cluster)
    return f"{type(refused.value).__name__}: {refused.value}"


async def goes_all_the_way(cluster: Cluster) -> None:
    """Topics, appends and a subscription: each is a client of its own."""
    await make_topics(cluster, Layout(partitions=2, replicas=1, in_sync=1), ["events"])
    log, stored, done = KafkaLog(cluster), Stored(), list[int]()
    try:
        await append(log, range(20))
        await drain(log.subscribe("scoring", "events", stored), stored, done, 20)
    finally:
        await log.close()
    assert sorted(done) == list(range(20))


async def test_tls_with_the_right_authority_goes_all_the_way(by_certificate: Cluster):
    await goes_all_the_way(by_certificate)


async def test_a_certificate_of_ours_goes_all_the_way(kafka: SecuredKafka, by_certificate: Cluster):
    certificate, key = kafka.authority.sign("client")
    await goes_all_the_way(replace(by_certificate, bootstrap=kafka.at("MUTUAL"), cert_file=certificate, key_file=key))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_an_account_over_tls_goes_all_the_way(by_account: Cluster, mechanism: str):
    await goes_all_the_way(replace(by_account, mechanism=mechanism))


async def test_an_account_without_tls_goes_all_the_way(kafka: SecuredKafka, by_account: Cluster):
    await goes_all_the_way(
        replace(by_account, bootstrap=kafka.at("CLEAR"), protocol="SASL_PLAINTEXT", ca_file=None, mechanism="SCRAM-SHA-512")
    )


async def test_a_broker_signed_by_somebody_else_is_not_trusted(by_certificate: Cluster, tmp_path: Path):
    for ca_file in (Authority(tmp_path / "other", "somebody else").ca_file, None):
        said = await refusal(replace(by_certificate, ca_file=ca_file))
        assert said.startswith("ConfigurationError: DRIPLINE_KAFKA_CA_FILE: the certificate of Kafka at 127.0.0.1:")
        assert said.endswith("name the PEM file of the authority that signed it")


async def test_a_certificate_for_another_name_is_not_trusted(by_certificate: Cluster):
    said = await refusal(replace(by_certificate, bootstrap=by_certificate.bootstrap.replace("127.0.0.1", "localhost")))
    assert said.startswith("ConfigurationError: DRIPLINE_KAFKA_BOOTSTRAP: Kafka at localhost:")
    assert "certificate for another name" in said


async def test_a_broker_that_wants_our_certificate_says_so(kafka: SecuredKafka, by_certificate: Cluster, tmp_path: Path):
    mutual = replace(by_certificate, bootstrap=kafka.at("MUTUAL"))
    assert "DRIPLINE_KAFKA_CERT_FILE and DRIPLINE_KAFKA_KEY_FILE: Kafka at 127.0.0.1" in await refusal(mutual)
    assert "wants a certificate of ours" in await refusal(mutual)
    certificate, key = Authority(tmp_path / "other", "somebody else").sign("client")
    assert "does not accept our certificate" in await refusal(replace(mutual, cert_file=certificate, key_file=key))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
@pytest.mark.parametrize("wrong", [{"username": "nobody"}, {"password": "coffee"}])
async def test_a_wrong_account_is_said_by_its_settings(by_account: Cluster, mechanism: str, wrong: dict[str, str]):
    said = await refusal(replace(by_account, mechanism=mechanism, **wrong))
    assert said.startswith("ConfigurationError: DRIPLINE_KAFKA_SASL_USERNAME and DRIPLINE_KAFKA_SASL_PASSWORD: Kafka at 127.0.0.1:")
    assert said.endswith(f"does not know this account, or not with this password ({mechanism})")
    assert PASSWORD not in said


async def test_a_mechanism_that_kafka_does_not_take_is_named(by_account: Cluster):
    said = await refusal(replace(by_account, mechanism="SCRAM-SHA-256"))
    assert "ConfigurationError: DRIPLINE_KAFKA_SASL_MECHANISM: " in said
    assert "does not take SCRAM-SHA-256" in said


async def test_a_protocol_that_the_port_does_not_expect_is_named(kafka: SecuredKafka, by_account: Cluster):
    open_line = Cluster(kafka.at("TLS"), request_seconds=3)
    wrong = [
        open_line,
        replace(open_line, bootstrap=kafka.at("CLEAR")),
        replace(open_line, bootstrap=kafka.bootstrap, protocol="SSL", ca_file=kafka.authority.ca_file),
        replace(by_account, protocol="SASL_PLAINTEXT", ca_file=None),
        replace(by_account, bootstrap=kafka.bootstrap, protocol="SASL_PLAINTEXT", ca_file=None),
    ]
    for cluster in wrong:
        assert "DRIPLINE_KAFKA_SECURITY_PROTOCOL" in await refusal(cluster)


async def test_one_broker_that_lets_us_in_is_enough(kafka: SecuredKafka):
    await knock(Cluster(f"127.0.0.1:1,{kafka.bootstrap}"))


async def test_nobody_there_is_an_outage_that_says_where(kafka: SecuredKafka):
    assert (await refusal(Cluster("127.0.0.1:1"))).startswith("Outage: Kafka at 127.0.0.1:1 (DRIPLINE_KAFKA_BOOTSTRAP) does not answer: ")
    assert "nobody knows the name in no.such.host.invalid:9092" in await refusal(Cluster("no.such.host.invalid:9092"))


async def test_making_topics_says_which_setting_is_wrong(by_account: Cluster):
    with pytest.raises(ConfigurationError, match="DRIPLINE_KAFKA_SASL_PASSWORD"):
        await make_topics(replace(by_account, password="coffee"), Layout(1, 1, 1))


async def test_an_account_that_is_lost_while_we_run_is_an_outage_that_says_so(by_account: Cluster):
    """It may come back; a spool and a retry are better than an end."""
    log = KafkaLog(replace(by_account, password="coffee"))
    try:
        with pytest.raises(Outage, match="DRIPLINE_KAFKA_SASL_PASSWORD"):
            await append(log, range(1))
        with pytest.raises(Outage, match="DRIPLINE_KAFKA_SASL_PASSWORD"):
            await log.subscribe("scoring", "events", Stored()).next(1)
    finally:
        await log.close()
