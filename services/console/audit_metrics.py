"""The audit as metrics, made anew every so often and never at a scrape: `dripline_audit_difference` is what an alarm looks at."""

from collections import Counter
from datetime import timedelta
from typing import Any

from services.console.together import Caller, Together
from shared.clock import real_now
from shared.telemetry import AUDIT_DIFFERENCE, AUDIT_FINISHED
from shared.telemetry import log as logger

EVERY = timedelta(minutes=10)


async def measure(together: Together, caller: Caller) -> None:
    """Make an audit and set the metrics. Raises Outage, and leaves them as they were, where a service is away."""
    found = await together.audit(caller)
    differences: Counter[tuple[str, str]] = Counter()
    for check in found["checks"]:
        differences[check["service"], str(check["promise"])] += 0 if check["ok"] else _difference(check)
    for (service, promise), difference in differences.items():
        AUDIT_DIFFERENCE.labels(service, promise).set(difference)
    AUDIT_FINISHED.set(real_now().timestamp())
    for check in found["checks"]:
        if not check["ok"]:
            logger.error("audit.differs", service=check["service"], check=check["name"], left=check["left"], right=check["right"])


def _difference(check: dict[str, Any]) -> int:
    left, right = int(check["left"]), int(check["right"])
    return max(1, abs(left - right))
