"""The demo: its figures are the same in every run."""

from pathlib import Path

import pytest
from rich.console import Console

from streams.settings import Settings
from streams.trials.demo import run
from streams.trials.demo.books import Books
from streams.trials.demo.traffic import Script

RATE = 200.0


def test_what_decides_before_and_after_the_swap_is_in_the_script(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in how quick the worker is: what was answered before it falls under the old threshold, all else under the new."""
    books: list[Books] = []

    def opened(script: Script) -> Books:
        books.append(Books(script))
        return books[0]

    monkeypatch.setattr(run, "Books", opened)
    figures = run.run_demo(Settings(model=models), embedded=True, rate=RATE, limit=120, console=Console(quiet=True))
    assert (120, 0, 0) == (figures["decisions"], figures["lost"], figures["duplicated"])
    (book,) = books
    before = {one for one, decision in book.decisions.items() if decision["control_version"] < book.swap_version}
    assert book.script.answered_before(book.script.seconds / 2) == before
    assert 20 < len(before) < 100
