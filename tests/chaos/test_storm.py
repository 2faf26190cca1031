"""A short storm over all services, two replicas each, on three brokers and PostgreSQL: some kills, each fault once, and then I1 to I10.

`make chaos` is the long one. A failing seed replays: `make chaos ARGS="--seed … --kills …"`.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.failpoints import FAILPOINTS
from tests import servers
from tests.chaos import invariants
from tests.chaos.plan import FAULTS, Kill, plan
from tests.chaos.report import report
from tests.chaos.sinks import MailSink, SalesSink
from tests.chaos.storm import Storm

SEED = int(os.environ.get("DRIPLINE_SEED", "20270321"))
KILLS = 8


def test_a_plan_is_its_seed_s_alone_and_comes_to_every_failpoint_and_fault():
    town = [f"{service}-{number}" for service in ("console", "ingest", "scoring", "journeys", "mailer") for number in (1, 2)]
    first, again, other = plan(7, town, 15), plan(7, town, 15), plan(8, town, 15)
    steps = [next(first) for _ in range(400)]
    assert steps == [next(again) for _ in range(400)]
    assert steps != [next(other) for _ in range(400)]
    done = [step.do for step in steps]
    assert {each.then.partition("=")[0] for each in done if isinstance(each, Kill)} - {""} == {
        name for name in FAILPOINTS if not name.startswith("moving.")
    }
    assert {each.kind for each in done if not isinstance(each, Kill)} == set(FAULTS)


@pytest.fixture
def storm(tmp_path: Path) -> Iterator[Storm]:
    mail, sales = MailSink(SEED), SalesSink()
    with servers.postgres_to_crash() as postgres:
        storm = Storm(tmp_path, postgres, servers.kafka_cluster(), mail, sales, seed=SEED, kills=KILLS, pace=0.6)
        mail.start()
        sales.start()
        yield storm
        storm.close()
        mail.stop()
        sales.stop()


@pytest.mark.timeout(900)
async def test_after_a_short_storm_every_invariant_holds(storm: Storm):
    began = time.monotonic()
    await storm.run()
    found = await invariants.gather(storm)
    broken = invariants.check(found)
    print(report(found, broken, time.monotonic() - began))  # noqa: T201 - a failing seed replays
    assert {name: what for name, what in broken.items() if what} == {}
    assert storm.log.struck
    assert storm.load.ledger.accepted
