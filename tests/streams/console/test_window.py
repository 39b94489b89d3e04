"""Counts of the last minutes."""

from streams.console.latency import DecidedIds, Latencies
from streams.console.window import Window


def test_only_the_last_minutes_count() -> None:
    """What is older is forgotten with its slot."""
    window: Window[str] = Window(60, 5)
    window.add(0, "old")
    window.add(100, "new", 3)
    assert {"new": 3} == dict(window.last(100))
    assert {} == dict(window.last(1000))
    assert 1 == len(window._slots)


def test_a_shorter_look_back() -> None:
    """Counts only what came in it."""
    window: Window[str] = Window(60, 1)
    for second in range(30):
        window.add(second, "a")
    assert 10 == window.last(29.5, 10)["a"]


def test_a_series_has_its_empty_slots_too() -> None:
    """The slot that is not over yet is left out."""
    window: Window[str] = Window(60, 5)
    window.add(1, "a")
    window.add(12, "b")
    assert [(0.0, {"a": 1}), (5.0, {})] == [(at, dict(counts)) for at, counts in window.series(12, 2)]


def test_latency_is_known_whichever_was_seen_first() -> None:
    """The record or its decision."""
    decided, found = DecidedIds(), Latencies()
    found.came("a", 1000, None)
    found.decided("a", 1040)
    decided.add("b", 2100)
    found.came("b", 2000, decided.get("b"))
    lately = found.lately(3000)
    assert lately is not None
    assert (2, 100.0, 100.0) == (lately.count, lately.p50, lately.p99)


def test_latency_is_of_lately() -> None:
    """Without a decision in the last minutes it is not known."""
    found = Latencies()
    found.came("a", 1000, None)
    found.decided("a", 1040)
    assert None is found.lately(1_000_000)
    assert None is Latencies().lately(0)


def test_what_never_comes_is_forgotten() -> None:
    """However many ids are remembered."""
    found, decided = Latencies(), DecidedIds()
    for number in range(30_000):
        found.came(str(number), 0, None)
        decided.add(str(number), 0)
    assert (20_000, None, 0) == (len(found._came), decided.get("9999"), decided.get("29999"))


def test_a_record_is_measured_once() -> None:
    """Where little comes, the last few are sampled again and again: that makes no more of them."""
    decided, found = DecidedIds(), Latencies()
    decided.add("a", 1040)
    for _ in range(5):
        found.came("a", 1000, decided.get("a"))
    found.came("b", 2000, None)
    for _ in range(5):
        found.came("b", 2500, None)
        found.decided("b", 2050)
    lately = found.lately(3000)
    assert lately is not None
    assert (2, 50.0) == (lately.count, lately.p99)
