"""Counts of what a lead did and bought: the same in any order, and bounded."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.scoring.history import DAYS_KEPT, OrderRule, join_histories, join_orders, purchase, remember
from shared.expressions import compile_expression
from shared.wire import Event, EventHistory, Orders
from tests.builders import NOON, an_event

DAY = timedelta(days=1)
TOTAL = compile_expression("event.properties.total", frozenset({"event"}))
RULE = OrderRule(frozenset({"Order Completed"}), frozenset({"Order Refunded"}), TOTAL)


def remembered(events: list[Event]) -> dict[str, EventHistory]:
    histories: dict[str, EventHistory] = {}
    for event in events:
        histories = remember(histories, event, event.at)
    return histories


def bought(*amounts: object) -> Orders:
    orders = Orders()
    for number, amount in enumerate(amounts):
        event = an_event("Order Completed", properties={"total": amount}, at=NOON + number * DAY)
        orders = purchase(orders, RULE, event, event.at)
    return orders


def test_a_history_counts_by_utc_day_and_keeps_the_last():
    found = remembered([an_event(at=NOON + DAY, properties={"title": "B"}), an_event(properties={"title": "A"}), an_event()])
    assert found["Ebook Downloaded"] == EventHistory(
        count=3, first_at=NOON, last_at=NOON + DAY, last={"title": "B"}, days={"2027-03-01": 2, "2027-03-02": 1}
    )


def test_a_history_keeps_400_days():
    found = remembered([an_event(at=NOON + number * DAY) for number in range(450)])["Ebook Downloaded"]
    assert (found.count, len(found.days)) == (450, DAYS_KEPT)
    assert min(found.days) == (NOON + 50 * DAY).date().isoformat()


MOMENTS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["A", "B"])), max_size=8)


@given(MOMENTS.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))), st.integers(0, 8))
def test_any_order_and_any_cut_gives_the_same_history(orders: tuple[list[tuple[int, str]], list[tuple[int, str]]], cut: int):
    one, other = ([an_event(at=NOON + day * DAY, properties={"title": title}) for day, title in order] for order in orders)
    assert join_histories(remembered(other[:cut]), remembered(other[cut:])) == remembered(one)


def test_orders_are_counted_and_summed():
    assert bought(10.1, "20.2", 0.3) == Orders(count=3, total=30.6, last_at=NOON + 2 * DAY)


def test_an_order_without_a_sensible_amount_counts_with_0():
    assert bought(None, "much", [1], float("nan"), {}) == Orders(count=5, total=0.0, last_at=NOON + 4 * DAY)


def test_a_refund_gives_the_money_back_and_leaves_the_order():
    refund = an_event("Order Refunded", properties={"total": 10})
    assert purchase(bought(30), RULE, refund, NOON + DAY) == Orders(count=1, total=20.0, last_at=NOON)


def test_sums_do_not_depend_on_the_order():
    amounts = [0.1, 0.2, 0.3, 1e6, 0.7]
    assert bought(*amounts).total == bought(*reversed(amounts)).total
    assert join_orders(bought(*amounts[:2]), bought(*amounts[2:])).total == bought(*amounts).total
