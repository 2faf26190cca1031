"""A mail is written by the version that decided it, though its replica has not heard of that version yet."""

from services.mailer.editions import Editions
from shared.playbooks import Playbooks
from tests.builders import a_template
from tests.mailer_house import House


async def test_a_replica_that_looked_a_moment_before_writes_by_the_version_of_the_message(house: House) -> None:
    before = house.version
    stale = Playbooks(house.database, house.clock)
    assert (await stale.newest()).version == before
    after = await house.publish({"welcome-1.html": a_template(subject="New")})
    house.editions = Editions(stale, {})
    replica = house.new_scheduler()
    assert (await stale.newest()).version == before
    await house.receive(house.a_send(1, version=before), house.a_send(2, version=after))
    await house.tick(replica)
    assert [b"Subject: New" in mail for _, mail in house.relay.taken] == [False, True]
