"""Where a worker's time goes."""

from streams.worker.busy import Busy


class Clock:
    """One that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_shares_are_of_the_last_seconds() -> None:
    """What was before does not count."""
    clock = Clock()
    busy = Busy(clock)
    busy.add("read", 50.0)
    assert None is busy.shares()
    for _ in range(20):
        clock.now += 1
        busy.add("read", 0.5)
        busy.add("deliver", 0.1)
        shares = busy.shares()
    assert {"read": 0.5, "deliver": 0.1} == shares
    for _ in range(20):
        clock.now += 1
        shares = busy.shares()
    assert {"read": 0.0, "deliver": 0.0} == shares


def test_a_stage_is_never_busier_than_always() -> None:
    """A batch that took longer than the window counts when it leaves."""
    clock = Clock()
    busy = Busy(clock)
    busy.shares()
    clock.now += 5
    busy.add("deliver", 60.0)
    assert {"deliver": 1.0} == busy.shares()


def test_memory_is_bounded() -> None:
    """However often it is asked."""
    clock = Clock()
    busy = Busy(clock)
    for _ in range(1000):
        clock.now += 0.5
        busy.shares()
    assert len(busy._looks) <= 21
