"""What goes to Kafka in one round."""

import asyncio

import pytest

from shared.errors import Outage
from shared.kafka_cluster import Cluster
from shared.kafka_writer import Append, Writer


async def test_what_nobody_waits_for_any_more_is_not_sent():
    """Ingest gives up after seconds and keeps the record on its own disk; sent from here as well it would only be there twice."""
    writer = Writer(Cluster("127.0.0.1:1"))
    writer._running.cancel()  # so that the rounds are the test's
    loop = asyncio.get_running_loop()
    waiting = [Append("events", [("k", value)], 1, loop.create_future()) for value in (b"kept", b"given up", b"kept too")]
    for one in waiting:
        writer.take(one)
    waiting[1].done.cancel()
    assert [append.records[0][1] for append in writer._take()] == [b"kept", b"kept too"]
    await writer.close()


async def test_a_certificate_that_is_gone_while_we_run_is_an_outage_that_names_its_setting():
    """Ingest keeps on its own disk what an outage keeps from Kafka, and nothing else."""
    writer = Writer(Cluster("127.0.0.1:1", protocol="SSL", ca_file="/nowhere/ca.pem"))
    append = Append("events", [("k", b"value")], 1, asyncio.get_running_loop().create_future())
    writer.take(append)
    with pytest.raises(Outage, match=r"DRIPLINE_KAFKA_CA_FILE: /nowhere/ca\.pem"):
        await append.done
    await writer.close()


async def test_what_comes_to_a_writer_that_has_ended_is_an_outage():
    writer = Writer(Cluster("127.0.0.1:1"))
    await writer.close()
    late = Append("events", [("k", b"late")], 1, asyncio.get_running_loop().create_future())
    writer.take(late)
    with pytest.raises(Outage, match="the log is closed"):
        await late.done
