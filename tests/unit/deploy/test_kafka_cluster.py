"""Three brokers as one cluster: what each must know of the others before it can start."""

from pathlib import Path

from deploy.servers import KafkaCluster


def test_the_brokers_of_a_cluster_agree_on_its_id_and_on_where_each_controller_listens(tmp_path: Path):
    brokers = KafkaCluster(tmp_path).brokers
    settings = [dict(line.split("=", 1) for line in broker._settings().splitlines() if line) for broker in brokers]
    assert [each["node.id"] for each in settings] == ["1", "2", "3"]
    assert len({each["controller.quorum.voters"] for each in settings}) == 1
    assert len({each["log.dirs"] for each in settings} | {each["listeners"] for each in settings}) == 6
    assert {each["offsets.topic.replication.factor"] for each in settings} == {"3"}
