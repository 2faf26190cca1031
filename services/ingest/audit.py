"""What `dripline audit` asks of ingest beside what it asks of every service: whether the spool of this replica gives away what it holds."""

from services.ingest.spooled_log import SpooledLog
from shared.auditing import Check


def spool_check(spooled: SpooledLog) -> Check:
    """What waits while Kafka is away is kept, and no mistake; the alarm on its age is a metric's."""
    held = spooled.held()
    waiting = sum(one.records for one in held)
    oldest = min((one.oldest_at for one in held if one.oldest_at), default=None)
    said = f"{waiting} wait, the oldest since {oldest:%Y-%m-%d %H:%M} UTC" if waiting and oldest else f"{waiting} wait"
    return Check(6, "what this replica's spool holds is kept until Kafka has it", waiting, waiting, said)
