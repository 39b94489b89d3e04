"""The memory ledger: something can always move, and nothing grows without a bound."""

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.pipeline.decided import Decided
from streams.pipeline.ledger import Limits, closed_sides, first_due, forget_surplus, holdings
from streams.pipeline.pending import PartitionStore
from streams.pipeline.records import REQUESTS, RESPONSES, size
from streams.pipeline.waiting import Waiting
from tests.rig import NOW, ROOMY, WINDOW, Desk, assignment, request, response

SIDES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=4)


def stores_of(counts: list[tuple[int, int]]) -> dict[int, PartitionStore]:
    """Stores in which so many requests and responses wait, by partition."""
    stores = assignment(range(len(counts))).stores
    for number, (requests, responses) in enumerate(counts):
        for place in range(requests):
            stores[number].requests.add(f"q{place}", Waiting(NOW, request(f"q{place}", partition=number)))
        for place in range(responses):
            stores[number].responses.add(f"a{place}", Waiting(NOW, response(f"a{place}", partition=number)))
    return stores


@given(counts=SIDES, limit=st.integers(1, 20))
def test_of_no_partition_are_both_sides_held_back(counts: list[tuple[int, int]], limit: int) -> None:
    """The side that is read can free what waits, and tells how far it has been read."""
    stores = stores_of(counts)
    for already in (frozenset[tuple[str, int]](), frozenset({(REQUESTS, 0)})):
        closed = closed_sides(stores, Limits(limit, 2**30, 100), already)
        for number in stores:
            assert not {(REQUESTS, number), (RESPONSES, number)} <= closed


@given(counts=SIDES)
def test_when_full_the_side_with_more_waiting_is_held_back(counts: list[tuple[int, int]]) -> None:
    """Its counterpart holds what frees it."""
    closed = closed_sides(stores_of(counts), Limits(1, 2**30, 100), frozenset())
    if sum(map(sum, counts)) == 0:
        assert frozenset() == closed
    else:
        for number, (requests, responses) in enumerate(counts):
            assert ((REQUESTS, number) in closed) == (requests > responses)
            assert ((RESPONSES, number) in closed) == (responses > requests)


def test_bytes_hold_back_at_three_quarters_and_responses_count() -> None:
    """Responses are the larger ones by far."""
    stores = stores_of([(0, 4)])
    held = holdings(stores).bytes
    assert frozenset({(RESPONSES, 0)}) == closed_sides(stores, Limits(100, held * 4 // 3, 100), frozenset())
    assert frozenset() == closed_sides(stores, Limits(100, held * 4 // 3 + 10, 100), frozenset())


def test_reading_goes_on_once_there_is_real_room() -> None:
    """Opening costs the client what it had fetched ahead, so it does not flutter around the limit."""
    stores, already = stores_of([(7, 0)]), frozenset({(REQUESTS, 0)})
    assert already == closed_sides(stores, Limits(8, 2**30, 100), already)
    assert frozenset() == closed_sides(stores, Limits(8, 2**30, 100), frozenset())
    assert frozenset() == closed_sides(stores_of([(5, 0)]), Limits(8, 2**30, 100), already)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 3000), st.integers(0, 20)), max_size=40))
def test_the_bytes_are_what_waits(steps: list[tuple[bool, int, int, int]]) -> None:
    """After any arrivals, matches and timeouts the sum equals a recount, and is never above the limit."""
    desk = Desk(limits=Limits(1000, 20_000, 100))
    now = NOW
    for offset, (asked, name, length, wait) in enumerate(steps):
        now += wait * 1000
        make = request if asked else response
        headers = [("pad", b"x" * length)]
        desk.match(make(f"r{name}", offset=offset, at=now, headers=headers), now=now)
        held, recount = holdings(desk.assignment.stores), 0
        for room in (desk.store.requests, desk.store.responses):
            for request_id in room:
                waiting = room.get(request_id)
                assert waiting is not None
                recount += size(waiting.record)
        overhead = (held.bytes - recount) / max(held.requests + held.responses, 1)
        assert held.bytes == 0 or 300 < overhead < 1500
        assert held.bytes <= 20_000


def test_remembered_ids_are_bounded_oldest_first_whichever_partition_they_are_of() -> None:
    """And the store says how far back it really remembers."""
    stores = assignment((0, 1)).stores
    for second, (number, name) in enumerate([(0, "a"), (1, "b"), (0, "c"), (1, "d")]):
        stores[number].decided.add(name, Decided.ANSWERED)
        stores[number].changes(NOW + 1000 * second, None, None)
    assert WINDOW == stores[0].decided.reach(NOW + 5000)
    forget_surplus(stores, Limits(10, 10, 2))
    assert [None, None] == [stores[0].decided.get("a"), stores[1].decided.get("b")]
    assert [Decided.ANSWERED] * 2 == [stores[0].decided.get("c"), stores[1].decided.get("d")]
    assert [5000, 4000] == [stores[number].decided.reach(NOW + 5000) for number in (0, 1)]
    assert WINDOW == stores[0].decided.reach(NOW + WINDOW)


def test_nothing_is_forgotten_below_the_limit() -> None:
    """The window alone decides then."""
    stores = assignment().stores
    stores[0].decided.add("a", Decided.ANSWERED)
    stores[0].changes(NOW, None, None)
    forget_surplus(stores, ROOMY)
    assert Decided.ANSWERED is stores[0].decided.get("a")


def test_what_comes_due_first_is_told_of_each_side() -> None:
    """Over all partitions, to the second; nothing of a side of which none waits."""
    stores = stores_of([(1, 0), (0, 0)])
    assert {REQUESTS: NOW} == first_due(stores)
    stores[1].requests.add("b", Waiting(NOW - 5000, request("b", partition=1)))
    stores[1].responses.add("c", Waiting(NOW + 1999, response("c", partition=1)))
    assert {REQUESTS: NOW - 5000, RESPONSES: NOW + 1000} == first_due(stores)
