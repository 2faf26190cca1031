"""What Dripline says about itself: structured logs without addresses or bodies, and one list of metrics."""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from prometheus_client import Counter, Gauge, Histogram

ANSWERS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LATENESS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 30, 60, 300, 900, 3600)

EVENTS_ACCEPTED = Counter("dripline_events_accepted_total", "Events answered with 200.")
EVENTS_REJECTED = Counter("dripline_events_rejected_total", "Events set aside by ingest.", ["code"])
RETRIED_CALLS = Counter("dripline_retried_calls_total", "Tracking calls that their client says it has sent before (X-Retry-Count).")
LIMITED_CALLS = Counter("dripline_limited_calls_total", "Calls with a write key put off because of a limit.")
SPOOLED = Counter("dripline_spooled_records_total", "Records that ingest put on its own disk because Kafka did not take them in time.")
SPOOL_RECORDS = Gauge("dripline_spool_records", "Records that wait on ingest's disk for Kafka.")
SPOOL_BYTES = Gauge("dripline_spool_bytes", "Bytes of ingest's disk that they take.")
SPOOL_OLDEST_SECONDS = Gauge("dripline_spool_oldest_seconds", "Age of the oldest of them.")
RECORDS_HANDLED = Counter("dripline_records_handled_total", "Records handled, by service and topic.", ["service", "topic"])
DEAD_LETTERS = Counter("dripline_dead_letters_total", "Records set aside.", ["service", "code"])
OUTAGES = Counter("dripline_outages_total", "Times a service held and tried again.", ["service"])
BATCH_SECONDS = Histogram("dripline_batch_seconds", "Time to handle one batch in one transaction.", ["service", "topic"])
LAG_SECONDS = Gauge("dripline_lag_seconds", "Age of the oldest record not yet handled.", ["service", "topic"])
PLACE = ["service", "topic", "partition"]
PARTITION_LAG_RECORDS = Gauge("dripline_partition_lag_records", "Records on Kafka not yet handled, of each partition that is ours.", PLACE)
PARTITION_LAG_SECONDS = Gauge("dripline_partition_lag_seconds", "Age of the oldest of them.", PLACE)
OUTBOX_WAITING = Gauge("dripline_outbox_waiting", "Transactions whose records the log should have by now; 100 at most.", ["service"])
DEAD_ROWS = Gauge("dripline_dead_rows", "Dead rows of the tables that change all the time, as PostgreSQL counts them.", ["table"])
LEADS_TO_RENEW = Gauge("dripline_leads_to_renew", "Leads still to be folded anew under rules that changed.")
DELIVERIES = Counter("dripline_deliveries_total", "Moves of deliveries, by where they led.", ["kind", "status"])
DELIVERIES_OPEN = Gauge("dripline_deliveries_open", "Deliveries that have not ended, or of which nobody knows.", ["status"])
WAKE_LATENESS = Histogram("dripline_wake_lateness_seconds", "How late enrollments were woken.", buckets=LATENESS)
WAKES_OVERDUE = Gauge("dripline_wakes_overdue_seconds", "How long ago the enrollment that waits longest should have been woken.")
HTTP_SECONDS = Histogram(
    "dripline_http_seconds", "Time to answer a request, by service and class of status.", ["service", "status"], buckets=ANSWERS
)
AUDIT_DIFFERENCE = Gauge("dripline_audit_difference", "By how much the audit's counts do not agree; 0: they do.", ["service", "promise"])
AUDIT_FINISHED = Gauge("dripline_audit_finished_seconds", "When the console last finished an audit, in seconds since 1970.")


class Stderr:
    """Where log lines go. One that cannot be written is lost, on a full disk say; whoever had something to say goes on."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


def set_up_logging(log_format: str = "text", level: int = logging.INFO) -> None:
    """Lines for people on a terminal, or one JSON object a line (`json`); both on stderr."""
    renderer = structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Stderr())),
        cache_logger_on_first_use=False,
    )


log = structlog.get_logger()
