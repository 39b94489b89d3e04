"""Answers remembered in pages: the same as in a dict, as far back as there is room."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.pipeline.quality import memory as module
from streams.pipeline.quality.items import NONE, Item, Lot
from streams.pipeline.quality.memory import Memory, Page


def item(number: int) -> Item:
    return Item(Lot(number % 3, 2_000_000 + number % 7, number % 2, 1, 640, 0, NONE, 0), 1000 * number)


def again(memory: Memory, most: int) -> Memory:
    made = Memory(most)
    assert 0 == made.restore(memory.state(), {page.name: page.packed() for page in memory.pages})
    return made


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.booleans()), unique_by=lambda one: one[0], max_size=60),
    st.sets(st.integers(0, 60), max_size=4),
)
def test_it_is_a_dict_that_forgets_the_oldest(answers: list[tuple[int, bool]], restarts: set[int]) -> None:
    """Of what humans have spoken too, and after being stored in between."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAGE", 4)
        memory, forgotten = Memory(8), 0
        for number, (about, is_spoken) in enumerate(answers):
            if number in restarts:
                memory = again(memory, 8)
            memory.add(about, item(number))
            if is_spoken:
                assert memory.speak(about, memory.find([about])[about])
            forgotten += memory.turn()
    pages = max(0, len(answers) // 4 - 2)
    known = dict(list(zip([about for about, _ in answers], range(len(answers)), strict=True))[4 * pages :])
    found = memory.find([about for about, _ in answers])
    assert {about: item(number) for about, number in known.items()} == {about: one.item for about, one in found.items()}
    spoken = {about for about, is_spoken in answers if is_spoken}
    assert [about not in spoken for about in known] == [memory.speak(about, found[about]) for about in known]
    assert len(known) == len(memory)
    assert forgotten == sum(not is_spoken for _, is_spoken in answers[: 4 * pages])


def test_a_million_take_what_is_said() -> None:
    """14 bytes each, and little more where they have much in common; a page fits into a record however little they have."""
    common = Page.of({one: item(one) for one in range(module.PAGE)}, ())
    assert len(common.packed()) < 14.1 * module.PAGE
    apart = Page.of({2**63 + one: Item(Lot(*[one] * len(Lot._fields)), one) for one in range(module.PAGE)}, ())
    assert len(apart.packed()) < 1_000_000


def test_what_a_page_is_called_hangs_on_all_that_is_in_it() -> None:
    """But not on what humans have spoken of since."""
    one, same, other = (Page.of({7: item(number)}, ()) for number in (1, 1, 2))
    before = one.name
    one.spoken[0] = True
    assert before == one.name == same.name != other.name


def test_looking_for_nothing_finds_nothing() -> None:
    """Before there is any page, and after."""
    memory = Memory(1)
    assert {} == memory.find([]) == memory.find([3])
    memory.add(3, item(3))
    assert {3: item(3)} == {about: one.item for about, one in again(memory, 1).find([3, 4]).items()}
    assert np.uint64 == Page.of({3: item(3)}, ()).abouts.dtype
