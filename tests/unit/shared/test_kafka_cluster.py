"""Settings of Kafka that cannot be meant so are refused by their names, before anybody knocks."""

from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigurationError
from shared.kafka_cluster import Cluster

AT = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ca_file": "ca.pem"}, "DRIPLINE_KAFKA_CA_FILE would have no effect"),
        ({"username": "u", "password": "p"}, "DRIPLINE_KAFKA_SASL_USERNAME and DRIPLINE_KAFKA_SASL_PASSWORD would have no effect"),
        ({"protocol": "SSL", "username": "u"}, "DRIPLINE_KAFKA_SASL_USERNAME would have no effect"),
        ({"protocol": "SASL_PLAINTEXT", "ca_file": "ca.pem", "username": "u", "password": "p"}, "DRIPLINE_KAFKA_CA_FILE would have no"),
        ({"protocol": "SASL_SSL"}, "DRIPLINE_KAFKA_SASL_USERNAME and DRIPLINE_KAFKA_SASL_PASSWORD must be set"),
        ({"protocol": "SASL_SSL", "username": "u"}, "DRIPLINE_KAFKA_SASL_PASSWORD must be set"),
        ({"protocol": "SSL", "key_file": "key.pem"}, "set DRIPLINE_KAFKA_CERT_FILE too"),
    ],
)
def test_half_a_setting_or_one_without_effect_is_refused(given: dict[str, Any], said: str):
    with pytest.raises(ConfigurationError, match=said):
        Cluster(AT, **given)


def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path):
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(ConfigurationError, match=r"DRIPLINE_KAFKA_CA_FILE: .*empty\.pem holds no certificate"):
        Cluster(AT, protocol="SSL", ca_file=str(empty)).options()
    with pytest.raises(ConfigurationError, match=r"DRIPLINE_KAFKA_CA_FILE: .*not-there\.pem holds no certificate, or cannot be read"):
        Cluster(AT, protocol="SSL", ca_file=str(tmp_path / "not-there.pem")).options()
    with pytest.raises(ConfigurationError, match=r"DRIPLINE_KAFKA_CERT_FILE and DRIPLINE_KAFKA_KEY_FILE: .*empty\.pem and the key in it"):
        Cluster(AT, protocol="SSL", cert_file=str(empty)).options()


def test_the_password_is_shown_to_nobody():
    assert "tea" not in repr(Cluster(AT, protocol="SASL_SSL", username="u", password="tea"))
