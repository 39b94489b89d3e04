"""The pages, made of states: every one of them, with whatever anybody wrote in it inert."""

import re
from html.parser import HTMLParser

import msgspec
import pytest

from streams.console import pages
from streams.console.decisions import Asked
from streams.console.item import Event, Item
from streams.console.read_model import ReadModel
from streams.console.state import State
from streams.kafka.control_status import BudgetStatus
from streams.pipeline.quality.judging import Alert, Figures, Reliability
from tests.streams.console.making import COSTS, HOSTILE, NOW, decision, in_force, letter, watched, word

_TAGS_WITHOUT_END = frozenset({"meta", "link", "input", "img", "br", "!doctype"})


class Reader(HTMLParser):
    """Reads a page: its tags, its text, and whether it is well-formed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", [""]
        self.feed(page)
        assert [""] == self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _TAGS_WITHOUT_END:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert tag == self._open.pop(), f"{tag} ends what did not begin"

    def handle_data(self, data: str) -> None:
        self.text += data


def named(name: str) -> ReadModel:
    """A fleet in which all that comes from outside is called so."""
    fleet = watched()
    one = decision(
        name,
        policy=name,
        reasons=[name[:60]],
        llm={"name": name, "outcome": 0, "category": name},
        drivers=[{"predictor": name, "push": 1}],
    )
    fleet.decided(one, int(NOW * 1000), NOW, live=True)
    figures = Figures(name, name, "ab", reliability=[Reliability(5, 0.2, 0.4)], drift={name: 0.3})
    said = word(
        name,
        honoured=False,
        problem=name,
        model=name,
        hash=name,
        quality=[figures],
        alerts=[Alert("drift", name, llm=name, about=name)],
    )
    fleet.heard({name: said}, {}, {name: name})
    by = {"since": 1, "issued_by": name, "reason": name, "at": name}
    scope = {"policy": name, "tenant": name, "outcome": "*"}
    told = {"version": 1, "what": name, "signed_by": name, "applied": True, "refused": name, **by}
    budget = BudgetStatus(name, "*", "*", name, 0.1, 3)
    controls = in_force(stops={name: {**scope, **by}}, last=told, budgets=[msgspec.to_builtins(budget)])
    controls.history.append(told)
    controls.changes[0]["changes"].append([name, name, name])
    fleet.in_force(controls)
    fleet.set_aside(letter(name, message=name, source=name, key=name), NOW, live=True)
    for _ in range(2):
        fleet.looked("topics", name, None)
    return fleet


def every_page(fleet: ReadModel, name: str = HOSTILE) -> dict[str, str]:
    state, asked = fleet.state(NOW), Asked(policy=name)
    said = {name: name, "predictors": {"one": None, name: 0.1}, "drivers": [{"predictor": name, "push": 1}]}
    item = Item(name, [Event("requests", name, name, name, said, name)], [name])
    return {
        "now": pages.now(state),
        "decisions": pages.decisions(state, asked, fleet.latest(Asked(), 200)),
        "item": pages.item(state, item, name),
        "no item": pages.item(state, None, name, name),
        "threshold": pages.threshold(state),
        "quality": pages.quality(state),
        "controls": pages.controls(state),
        "letters": pages.letters(state),
        "workers": pages.workers(state),
    }


def test_what_anybody_wrote_is_text() -> None:
    """A page of hostile names has the very tags of one of harmless names, and nothing in it turns the text around."""
    harmless, found = every_page(named("harmless"), "harmless"), every_page(named(HOSTILE))
    for name, page in found.items():
        reader = Reader(page)
        assert [tag for tag, _ in Reader(harmless[name]).tags] == [tag for tag, _ in reader.tags], name
        assert not any(attribute.startswith("on") for _, attributes in reader.tags for attribute in attributes), name
        assert "alert(1)" in reader.text, name
        assert not {"\u202e", "\x1b", "\x00"} & set(page), name


@pytest.mark.parametrize("fleet", [ReadModel("broker:9092", COSTS), watched(), watched(2, decided=0), named(HOSTILE)])
def test_every_page_is_whole(fleet: ReadModel) -> None:
    """Of a fleet that nothing is known of too: one heading, one current page, ids used once, and nothing from elsewhere."""
    for name, page in every_page(fleet).items():
        reader = Reader(page)
        tags = [tag for tag, _ in reader.tags]
        ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
        assert 1 == tags.count("h1"), name
        assert len(ids) == len(set(ids)), name
        assert 1 == sum(attributes.get("aria-current") == "page" for _, attributes in reader.tags), name
        assert "style" not in tags, name
        assert not any("style" in attributes for _, attributes in reader.tags), name
        assert 1 == tags.count("script"), name
        assert [] == re.findall(r"https?://(?!www\.w3\.org)", page), name


def test_inputs_have_their_labels_and_charts_their_words() -> None:
    """For who hears the page."""
    for page in every_page(watched()).values():
        assert page.count("<input") + page.count("<select") == page.count("<label>")
        assert page.count('role="img"') == page.count("<figcaption>")


def test_unknown_is_said() -> None:
    """Where a figure is not known, it is not zero."""
    page = Reader(pages.now(ReadModel("broker:9092", COSTS).state(NOW))).text
    assert page.count("unknown") >= 8


@pytest.mark.parametrize("fleet", ["away", "denied"])
def test_every_page_says_that_it_is_as_it_was(fleet: str) -> None:
    """Or what of it may not be read: who looks at Controls at night does not look at the first page."""
    one = watched()
    for _ in range(2):
        one.looked("controls", "this user lacks the right", None)
    state = one.state(NOW + (60 if fleet == "away" else 0))
    assert state.word.word == ("blind" if fleet == "away" else "blind in part")
    for page in (pages.threshold, pages.quality, pages.controls, pages.letters, pages.workers):
        assert state.word.why in Reader(page(state)).text
    assert state.word.why in Reader(pages.decisions(state, Asked(), [])).text
    assert 1 == Reader(pages.now(state)).text.count(state.word.why)


def test_the_threshold_and_what_moving_it_would_do() -> None:
    """Around the one in force, which is marked."""
    page = Reader(pages.threshold(watched(decided=100).state(NOW))).text
    assert "Threshold in force: 0.4" in page
    assert "0.4 (in force)" in page
    assert "100 answers with P(error)" in page


def narrowed(**threshold: object) -> State:
    fleet = watched()
    controls = in_force()
    controls.in_force["thresholds"]["narrow"] = {**controls.in_force["thresholds"]["*"], **threshold}
    fleet.in_force(controls)
    return fleet.state(NOW)


def test_the_threshold_of_a_policy() -> None:
    """The most specific one that is for all of it; none is said where tenants or outcomes have their own."""
    assert 0.4 == pages.threshold_of(watched().state(NOW), "hate")
    assert 0.2 == pages.threshold_of(narrowed(policy="hate", value=0.2), "hate")
    assert 0.4 == pages.threshold_of(narrowed(policy="spam", value=0.2), "hate")
    assert 0.39 == pages.threshold_of(narrowed(policy="hate", value=None), "hate")
    assert None is pages.threshold_of(narrowed(policy="hate", tenant="acme", value=0.2), "hate")
    assert None is pages.threshold_of(narrowed(outcome="remove", value=0.2), "hate")


def test_stages_of_which_a_worker_says_nothing_are_unknown() -> None:
    """One of an older version, beside one that says them."""
    fleet = watched()
    fleet.heard({"one": word(), "old": word("old", busy=None)}, {}, {})
    text = Reader(pages.workers(fleet.state(NOW))).text
    assert "50%90%" in text.replace("\n", "")
    assert "unknownunknown" in text.replace("\n", "")


def test_a_value_is_cut_where_there_is_no_room() -> None:
    """However long it is, and however deep: anybody may write vectors."""
    deep: object = "end"
    for _ in range(500):
        deep = [deep]
    said = {"long": "x" * 10_000_000, "deep": deep, "large": 10**40}
    page = pages.item(watched().state(NOW), Item("a", [Event("vectors", "", "", "", said, "y" * 50_000)], []), "a")
    assert len(page) < 40_000
    assert "30,000 characters more" in page
    assert str(10**40) in page


def test_quality_says_unknown_without_audits() -> None:
    """And draws what humans judged."""
    fleet = watched()
    figures = Figures("hate", "an-llm", "ab", judged=9, reliability=[Reliability(9, 0.2, 0.3)])
    fleet.heard({"one": word(quality=[figures])}, {}, {})
    page = pages.quality(fleet.state(NOW))
    assert "unknown" in Reader(page).text
    assert 'role="img"' in page


def test_dead_letters_have_their_command() -> None:
    """For codes that are ours; nothing anybody wrote is a command to copy."""
    fleet = watched()
    fleet.set_aside(letter("late_response"), NOW, live=True)
    fleet.set_aside(letter("x; rm -rf /"), NOW, live=True)
    page = Reader(pages.letters(fleet.state(NOW))).text
    assert "secondlook dead-letters redrive --code late_response --dry-run" in page
    assert 1 == page.count("redrive --code")


def test_content_is_shown_where_the_item_has_it() -> None:
    """Else there is no place for it."""
    state = watched().state(NOW)
    event = Event("requests", "there 0:1", "12:00", "the request came", {"bytes": 3})
    assert "Content" not in pages.item(state, Item("a", [event], []), "a")
    assert "the post" in pages.item(state, Item("a", [msgspec.structs.replace(event, content="the post")], []), "a")
