"""Whatever comes, in whatever order: what always holds of a walk."""

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from services.journeys.enrollment import Enrollment, Visit, message_id
from shared.wire import Activity, Send, Withdraw
from tests.unit.journeys.stage import Stage

JOURNEYS = (
    """
journey: cart
trigger: {event: Cart Updated, key: event.properties.cart}
reentry: always
on_repeat: reset_timer
exit_when: [{event: Cart Emptied, match_key: event.properties.cart}]
goal: {event: Order Completed, match_key: event.properties.cart, within: 3d}
max_duration: 20d
steps: [{wait: 1h}, {send: cart-1}, {wait: 1d}, {send: cart-2}]
""",
    """
journey: welcome
trigger: {event: Signed Up}
reentry: {after: 2d}
on_repeat: restart
exit_when: [{when: "hours_since(entered_at) > 60"}]
steps:
  - {id: hello, send: hello}
  - wait: 2h
  - branch: [{if: steps.hello.event, do: [{handoff: sales}]}]
  - wait: 1d
  - {send: bye, max_age: 1h}
""",
)

CARTS = st.sampled_from(["c1", "c2", None])
MOVES = st.one_of(
    st.tuples(
        st.just("event"), st.sampled_from(["Cart Updated", "Cart Emptied", "Order Completed", "Signed Up"]), CARTS, st.integers(0, 90)
    ),
    st.tuples(st.just("time"), st.sampled_from(["1m", "59m", "1h", "1d", "3d"])),
    st.tuples(st.just("settle"), st.sampled_from(["Email Sent", "Email Suppressed", "Email In Doubt"])),
    st.tuples(
        st.just("early"),
    ),
    st.tuples(st.just("pause"), st.sampled_from(["cart", "welcome"])),
    st.tuples(
        st.just("resume"),
    ),
)


def play(stage: Stage, move: tuple) -> None:
    match move:
        case ("event", name, cart, minutes):
            stage.happens(name, ago=f"{minutes}m", **({"cart": cart} if cart else {}))
        case ("time", duration):
            stage.passes(duration)
        case ("settle", name):
            if any(one.message is not None for one in stage.walks):
                stage.settles(name)
        case ("early",):
            stage.wake()
        case ("pause", name):
            stage.sets_status(**{name: "paused"})
        case ("resume",):
            stage.sets_status()


@settings(max_examples=150, deadline=None)
@given(st.lists(MOVES, max_size=25))
def test_whatever_comes_the_promises_hold(moves):
    stage = Stage(*JOURNEYS)
    before: dict[str, Enrollment] = {}
    for move in moves:
        play(stage, move)
        for walk in stage.walks:
            check_move(before.get(walk.id), walk)
        before = {walk.id: walk for walk in stage.walks}
    check_messages(stage)
    check_visits(stage)


def check_move(before: Enrollment | None, after: Enrollment) -> None:
    """A transition grows with every change, the ended stay ended, and who walks is either waiting for time or for a mail."""
    if before is not None:
        unchanged = (before.step, before.status, before.entry, before.converted_at) == (
            after.step,
            after.status,
            after.entry,
            after.converted_at,
        )
        assert after.transition > before.transition or unchanged
        assert before.active or not after.active
    if after.active:
        assert after.message is None or after.due_at is None
        assert after.wake_at is not None
    else:
        assert (after.wake_at, after.step, after.message, after.due_at) == (None, None, None, None)


def check_messages(stage: Stage) -> None:
    """Each message has its own id; of a walk that ended, every mail is settled or withdrawn; none goes out after the end."""
    ids = [message.id for message in stage.messages]
    assert len(ids) == len(set(ids))
    ended: dict[str, datetime] = {one.id: one.ended_at for one in stage.walks if one.ended_at}
    for message in stage.messages:
        assert message.enrollment_id not in ended or message.reached_at <= ended[message.enrollment_id]
    withdrawn = {effect.id for effect in stage.effects if isinstance(effect, Withdraw)}
    assert withdrawn <= set(ids)
    under_way = {message_id(one.id, one.message) for one in stage.walks if one.message is not None}
    assert not under_way & withdrawn


def check_visits(stage: Stage) -> None:
    """One visit per arrival; each message has one; reached = published + skipped; a wait never fires early."""
    visits = [effect for effect in stage.effects if isinstance(effect, Visit)]
    assert len({(visit.enrollment_id, visit.transition) for visit in visits}) == len(visits)
    reached = [visit for visit in visits if visit.kind in ("send", "handoff")]
    assert len(reached) == len([visit for visit in visits if visit.outcome in ("published", "skipped")])
    assert {visit.message_id for visit in reached if visit.message_id} == {message.id for message in stage.messages}
    waits = {"steps.0": timedelta(hours=1), "steps.2": timedelta(days=1)}
    for walk in stage.walks:
        own = [visit for visit in visits if visit.enrollment_id == walk.id and walk.journey == "cart"]
        for earlier, following in pairwise(own):
            assert earlier.outcome != "waited" or following.at - earlier.at >= waits[earlier.step] or following.outcome == "waited"


@settings(max_examples=60, deadline=None)
@given(st.lists(MOVES, min_size=1, max_size=15), st.data())
def test_a_redelivered_activity_changes_nothing(moves, data):
    stage = Stage(*JOURNEYS)
    seen: list[Activity] = []
    arrives = stage.arrives
    stage.arrives = lambda activity: (seen.append(activity), arrives(activity))[1]  # type: ignore[method-assign]
    for move in moves:
        play(stage, move)
    if not seen:
        return
    walks, effects = stage.walks, len(stage.effects)
    for activity in data.draw(st.lists(st.sampled_from(seen))):
        arrives(activity)
    assert (stage.walks, len(stage.effects)) == (walks, effects)


@settings(max_examples=60, deadline=None)
@given(st.permutations(["Cart Updated", "Order Completed", "Cart Emptied"]))
def test_in_whatever_order_they_arrive_a_later_purchase_keeps_the_mail_back(order):
    happened = {"Cart Updated": "30m", "Cart Emptied": "20m", "Order Completed": "10m"}
    stage = Stage(*JOURNEYS)
    for name in order:
        stage.happens(name, ago=happened[name], cart="c1")
    stage.passes("9d")
    assert [message for message in stage.effects if isinstance(message, Send)] == []
