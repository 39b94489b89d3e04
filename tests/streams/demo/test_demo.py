"""The demo: its figures are the same in every run."""

from pathlib import Path

import pytest
from rich.console import Console

from streams.demo import run
from streams.demo.ledger import Ledger
from streams.demo.traffic import Script
from streams.settings import Settings

RATE = 200.0


def test_what_decides_before_and_after_the_swap_is_in_the_script(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in how quick the worker is: what was answered before it falls under the old threshold, all else under the new."""
    books: list[Ledger] = []

    def opened(script: Script) -> Ledger:
        books.append(Ledger(script))
        return books[0]

    monkeypatch.setattr(run, "Ledger", opened)
    figures = run.run_demo(Settings(model=models), embedded=True, rate=RATE, limit=120, console=Console(quiet=True))
    assert (120, 0, 0) == (figures["decisions"], figures["lost"], figures["duplicated"])
    (ledger,) = books
    before = {one for one, decision in ledger.decisions.items() if decision["control_version"] < ledger.swap_version}
    assert ledger.script.answered_before(ledger.script.seconds / 2) == before
    assert 20 < len(before) < 100
