"""Named places in the way of an event where a test ends or halts the process: both sides of every commit and of every send.

`DRIPLINE_FAILPOINTS="mailer.after_250=kill@3"`: at the third passing the process dies as by `kill -9`; `stop` halts it as SIGSTOP does,
until somebody continues it. Several go with commas. Nothing is armed in production: passing one costs a look at an empty dict.
"""

import os
import re
import signal
from collections.abc import Mapping

from shared.errors import ConfigurationError
from shared.telemetry import log as logger

FAILPOINTS: Mapping[str, str] = {
    "ingest.before_append": "services/ingest/tracking.py:take",
    "ingest.after_append": "services/ingest/tracking.py:take",
    "ingest.before_set_aside": "services/ingest/tracking.py:_set_aside",
    "ingest.after_set_aside": "services/ingest/tracking.py:_set_aside",
    "ingest.before_spool": "services/ingest/spool.py:append",
    "ingest.after_spool": "services/ingest/spool.py:append",
    "ingest.before_drain": "services/ingest/spool.py:_drain",
    "ingest.after_drain": "services/ingest/spool.py:_drain",
    "kafka.before_send": "shared/kafka_writer.py:_send",
    "kafka.after_send": "shared/kafka_writer.py:_send",
    "database.before_commit": "shared/db.py:transaction",
    "database.after_commit": "shared/db.py:transaction",
    "outbox.before_append": "shared/work.py:_publish",
    "outbox.after_append": "shared/work.py:_publish",
    "consumer.before_commit": "shared/consumer.py:_apply",
    "consumer.after_commit": "shared/consumer.py:_apply",
    "consumer.before_set_aside": "shared/consumer.py:_set_aside",
    "consumer.after_set_aside": "shared/consumer.py:_set_aside",
    "scoring.before_sweep": "services/scoring/scheduler.py:_rescore",
    "scoring.after_sweep": "services/scoring/scheduler.py:_rescore",
    "journeys.before_wake": "services/journeys/scheduler.py:tick",
    "journeys.after_wake": "services/journeys/scheduler.py:tick",
    "moving.before_commit": "dripline/moving.py:_move",
    "moving.after_commit": "dripline/moving.py:_move",
    "mailer.before_claim": "services/mailer/ledger.py:claim",
    "mailer.after_claim": "services/mailer/ledger.py:claim",
    "mailer.before_sending": "services/mailer/ledger.py:mark",
    "mailer.before_data": "services/mailer/attempt.py:_hand_over",
    "mailer.after_250": "services/mailer/attempt.py:_hand_over",
    "mailer.before_settle": "services/mailer/ledger.py:settle",
    "mailer.after_settle": "services/mailer/scheduler.py:_write_down",
    "mailer.before_answer": "services/mailer/handoff_desk.py:answer",
    "mailer.after_answer": "services/mailer/handoff_desk.py:answer",
    "mailer.before_unsubscribe": "services/mailer/readers.py:unsubscribe",
    "mailer.after_unsubscribe": "services/mailer/readers.py:unsubscribe",
    "webhook.before_post": "services/mailer/attempt.py:_post",
    "webhook.after_2xx": "services/mailer/attempt.py:_post",
}
"""Every failpoint there is, and the function it stands in; `before` and `after` are the two sides of that function's commit or send."""

ACTIONS: Mapping[str, signal.Signals] = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_WISH = re.compile(r"(?P<name>[\w.]+)=(?P<action>\w+)(@(?P<passing>[1-9]\d*))?")

_armed: dict[str, tuple[str, int]] = {}


def arm(wishes: str) -> None:
    """Arm what `DRIPLINE_FAILPOINTS` asks for, and nothing else. Raises ConfigurationError for what there is not."""
    armed = dict(_read(wish.strip()) for wish in wishes.split(",") if wish.strip())
    _armed.clear()
    _armed.update(armed)
    if armed:
        logger.critical("failpoints.armed", failpoints=wishes, why="DRIPLINE_FAILPOINTS is for tests: this process will end itself")


def passing(name: str) -> None:
    """The process comes past the failpoint of this name."""
    if _armed and name in _armed:
        _pass(name)


def _read(wish: str) -> tuple[str, tuple[str, int]]:
    found = _WISH.fullmatch(wish)
    if found is None:
        raise ConfigurationError(f"DRIPLINE_FAILPOINTS: `{wish}` is not NAME=kill@3 or NAME=stop; take it out unless this is a test")
    name, action = found["name"], found["action"]
    if name not in FAILPOINTS:
        raise ConfigurationError(f"DRIPLINE_FAILPOINTS: there is no failpoint `{name}`; shared/failpoints.py names them all")
    if action not in ACTIONS:
        raise ConfigurationError(f"DRIPLINE_FAILPOINTS: `{name}` can {' or '.join(ACTIONS)}, not `{action}`")
    return name, (action, int(found["passing"] or 1))


def _pass(name: str) -> None:
    action, left = _armed.pop(name)
    if left > 1:
        _armed[name] = (action, left - 1)
    else:
        os.kill(os.getpid(), ACTIONS[action])
