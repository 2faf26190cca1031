"""docs/asyncapi.yaml says what is on the topics: every shape as the code has it, every topic as `migrate` makes it."""

from typing import Any

import pytest
import yaml

from shared.kafka_cluster import Cluster
from shared.kafka_topics import TOPICS, Layout, _topic
from shared.kafka_writer import header_of
from tests.asyncapi import DOCUMENT, schemas

SAID: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text())


def found(reference: str) -> Any:
    """What a `$ref` within the document leads to."""
    node: Any = SAID
    for name in reference.removeprefix("#/").split("/"):
        node = node[name]
    return node


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return here + [one for value in node.values() for one in references(value)]
    return [one for value in node for one in references(value)] if isinstance(node, list) else []


def test_every_shape_is_as_the_code_has_it():
    assert SAID["components"]["schemas"] == schemas(), "a shape has changed: python -m tests.asyncapi, and say so in the changelog"


def test_every_reference_leads_somewhere():
    assert len(references(SAID)) > 30
    for reference in references(SAID):
        assert found(reference) is not None


@pytest.mark.parametrize("name", TOPICS)
def test_every_topic_is_as_migrate_makes_it(name: str):
    made = _topic(Cluster("").topic(name), Layout())
    channel = SAID["channels"][name]
    kafka = channel["bindings"]["kafka"]
    assert channel["address"] == made.name
    assert (kafka["partitions"], kafka["replicas"]) == (made.num_partitions, made.replication_factor)
    said = {key: ",".join(value) if isinstance(value, list) else str(value) for key, value in kafka["topicConfiguration"].items()}
    assert said == {key: made.topic_configs[key] for key in said}


@pytest.mark.parametrize("name", TOPICS)
def test_every_record_has_the_header_that_is_said(name: str):
    for message in SAID["channels"][name]["messages"].values():
        said = found(message["$ref"])["headers"]["properties"]["schema"]["const"]
        assert header_of(name) == [("schema", said.encode())]


def test_every_topic_is_sent_to_and_received_from():
    pairs = {(operation["channel"]["$ref"].rpartition("/")[2], operation["action"]) for operation in SAID["operations"].values()}
    assert pairs == {(name, action) for name in TOPICS for action in ("send", "receive")}


def test_the_document_is_asyncapi_3():
    """In outline; as a whole it was judged by the JSON Schema of AsyncAPI 3.0.0 from npm's @asyncapi/specs."""
    assert SAID["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= SAID["info"].keys()
    for channel in SAID["channels"].values():
        assert channel.keys() <= {"address", "title", "summary", "description", "servers", "parameters", "messages", "bindings", "tags"}
    for operation in SAID["operations"].values():
        assert operation.keys() == {"action", "channel", "summary"}
        assert operation["action"] in ("send", "receive")
    for message in SAID["components"]["messages"].values():
        assert message["payload"]["$ref"].startswith("#/components/schemas/")
