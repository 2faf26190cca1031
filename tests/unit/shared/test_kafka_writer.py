"""What goes to Kafka in one round."""

import asyncio

from shared.kafka_cluster import Cluster
from shared.kafka_writer import Writer


async def test_what_nobody_waits_for_any_more_is_not_sent():
    """Ingest gives up after seconds and keeps the record on its own disk; sent from here as well it would only be there twice."""
    writer = Writer(Cluster("127.0.0.1:1"))
    writer._running.cancel()  # so that the rounds are the test's
    waiting = [asyncio.ensure_future(writer.append("events", [("k", value)], 1)) for value in (b"kept", b"given up", b"kept too")]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.wait([waiting[1]])
    assert [append.records[0][1] for append in writer._take()] == [b"kept", b"kept too"]
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await writer.close()
