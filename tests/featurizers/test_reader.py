"""What counts as the answer's own verdict, and what is only quoted, taken back or cut off."""

import pytest

from featurizers import PRESETS, OutcomeSpec
from featurizers.caseless import caseless
from featurizers.locate import locator, split_reasoning
from featurizers.objects import read_objects
from featurizers.spec import REASONING

SAFETY = OutcomeSpec(name="safety", labels=(("safe",), ("unsafe",)), where="first-token")


def outcome(text: str, spec: OutcomeSpec | str = "lpp", *, cut: bool = False) -> int:
    spec = PRESETS[spec] if isinstance(spec, str) else spec
    return locator(spec).locate(text, False, cut).outcome


OWN = {
    "array": '[{"outcome": 1}]',
    "bare words": '{"note": true, "outcome": 1, "p": null}',
    "broken off behind": '{"outcome": 1, "rationale": "it says',
    "broken behind": '{"outcome": 1, "rationale": "it says "go", and so"}',
    "echoed prompt": 'Reply like {"outcome": 0-3}.\n{"outcome": 1}',
    "fullwidth": '{"outcome": "\uff11"}',
    "introduced": 'It\'s bad, so I say: {"outcome": 1}. That is all.',
    "introduced in bold": 'It is bad. **Answer:** {"outcome": 1}',
    "on its own line": 'It is bad.\n- {"outcome": 1}\nThat is all.',
    "beside what it is about": 'It has {"x": 0} in it, and {"outcome": 1} too.\n{"outcome": 1}',
    "list value": '{"tags": ["x", "outcome", 0], "outcome": 1}',
    "quotation beside it": 'The post says "outcome: 0".\n{"outcome": 1}',
    "quoted object beside it": 'The post says \'{"outcome": 0}\'.\n{"outcome": 1}',
    "German quotation beside it": 'Er sagt „{"outcome": 0}“.\n{"outcome": 1}',
    "raw line break": '{"rationale": "one\ntwo", "outcome": 1}',
    "single-quoted document": "{'rationale': \"it's bad\", 'outcome': 1}",
    "agreeing twice": '{"outcome": 1}\n{"outcome": 1}',
}


@pytest.mark.parametrize("text", OWN.values(), ids=OWN)
def test_own_verdict(text: str) -> None:
    """The answer's own verdict is read through sloppy JSON and beside quotations."""
    assert 1 == outcome(text)


NONE = {
    "in a sentence": 'It contains {"outcome": 0}, which is an attack.',
    "contradicted in a sentence": '{"outcome": 0}\nNo, {"outcome": 1}',
    "array in a string": '["{\\"outcome\\": 0}"]',
    "a string of JSON": '"{\\"outcome\\": 0}"',
    "block quotation": 'The post:\n> {"outcome": 0}\nis bad.',
    "comment": '{"x": 1 /* "outcome": 0 */}',
    "disagreeing": '{"outcome": 0}\n{"outcome": 1}',
    "disagreeing keys": '{"outcome": 0, "Outcome": 1}',
    "dotless": '{"outc\u0131ome": 0}',
    "got out of its quotes, other marks": '{"rationale": "it says", \'outcome\': 0}',
    "in a key": '{"outcome: 0": "x"}',
    "nested": '{"post": {"outcome": 0}}',
    "nested in a list": '{"posts": [{"outcome": 0}]}',
    "quoted in prose": "The post says '{\"outcome\": 0}' and more.",
    "typographic quotation": 'The post says \u201cset {"outcome": 0} now\u201d.',
    "unescaped quotation": '{"rationale": "The post says "outcome": 0, "confidence": 99"}',
    "unknown last": '{"outcome": 0}\n{"outcome": "unsure"}',
    "value is a list": '{"outcome": [0]}',
    "zero-width key": '{"out\u200bcome": 0}',
    "broken in front": 'Like {"outcome": <0 to 3>}.\n{"outcome": 1}',
    "broken, and said again": '{"outcome": 0 oops {"outcome": 1}',
}


@pytest.mark.parametrize("text", NONE.values(), ids=NONE)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
def test_no_verdict(text: str, cut: bool) -> None:
    """What is quoted, nested, contradicted or in doubt is no verdict."""
    assert -1 == outcome(text, cut=cut)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"outcome": 1, "confidence": 9', 1),
        ('{"outcome": 1', -1),  # it may have been 10
        ('{"outcome": "1', -1),
        ('{"rationale": "it is fine", "outcome": 0, "x": "', -1),  # the text may have got out of its quotes
        ('{"tag": "x", "outcome": 0, "x": "', -1),
        ('{"outcome": "0", "confidence": "9', 0),
        ('{"id": 7, "outcome": 0, "x": "', 0),
        ('So: {"outcome": 0}', -1),  # "... is what the post says"
        ('{"outcome": 0} is', -1),
        ('```json\n{"outcome": 0}\n```', 0),
    ],
)
def test_cut_off(text: str, expected: int) -> None:
    """In an answer that was cut off, only what its rest cannot have revoked counts."""
    assert expected == outcome(text, cut=True)


@pytest.mark.parametrize(
    ("text", "spec", "expected"),
    [
        ("__unsafe__", "llama-guard", 1),
        ("Unsafe - hate", SAFETY, 1),
        ("safe\nsafe", SAFETY, 0),
        ("Safe to say this is unsafe.", SAFETY, -1),
        ("Safe to say that is bad.", SAFETY, -1),
        ("safe\n\nunsafe", SAFETY, -1),
        ("safe, no: unsafe", SAFETY, -1),
        ("safe\nThis content is unsafe.", SAFETY, -1),
        ("safe\nAs for children, it is unsafe there.", SAFETY, -1),
        ("ALLOW\n\nI would block it, though.", "allow-block", -1),
        ("ALLOW\n\nIt is blocked by nobody.", "allow-block", 0),
        ("false\nIt is true that it is rude.", "true-false", -1),
        ("Yes.\nThere is no excuse for it.", "yes-no", 1),
        ("Yes.\nOr rather: no.", "yes-no", -1),
        ("No.\nWell, yes, it does.", "yes-no", -1),
        ("1. The post is fine.\n2. It is kind.\nVerdict: 0", "zero-one", -1),
        ("1) The post is fine.", "zero-one", -1),
        ("**0.** Nothing found", "zero-one", -1),
        ("1.", "zero-one", 1),
        ("1\nIt breaks rule 0 of the house.", "zero-one", 1),
        ("0\nVerdict: 1", "zero-one", -1),
        ("Safe?", "llama-guard", -1),
        ("> safe", "llama-guard", -1),
        ("0.5", "zero-one", -1),
        ("-1", "zero-one", -1),
        ("1/10", "zero-one", -1),
        ("10", "zero-one", -1),
        ('{"yes": 0}', "yes-no", -1),
        ("No-one knows", "yes-no", -1),
    ],
)
def test_first_word(text: str, spec: OutcomeSpec | str, expected: int) -> None:
    """The first word is the verdict where it stands for itself and nothing contradicts it."""
    assert expected == outcome(text, spec)


def test_first_word_cut_off() -> None:
    """A word at a cut-off end may have gone on; a spec whose LLM says one token only takes it."""
    one_token = OutcomeSpec(name="s", labels=(("safe",), ("unsafe",)), where="first-token", may_be_cut=True)
    assert [-1, 0] == [outcome("safe", spec, cut=True) for spec in (SAFETY, one_token)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("verdict: remove\nreason: it is rude", 1),
        ("I looked at it.\nverdict: remove\nThat is all.", 1),
        ("Text to check:\nverdict: keep\n\nAnswer: Remove.", -1),
        ("Text to check:\nverdict: keep", -1),
        ("The user wrote:\nverdict: keep", -1),
        ("verdict: keep\nverdict: remove", -1),
        ("verdict: keep\nWait, that is wrong.", -1),
        ("verdict: keep\nrule: none", 0),
        ("verdict: keep\nrule:", 0),
        ("verdict: keep\nrule: N/A", 0),
        ("verdict: keep\nrule: 7", -1),
        ("verdict: remove\nrule: 7", 1),
        ("verdict: keep\nlast time: remove", 0),
        ("verdict: keep\nthis time: remove", -1),
    ],
)
def test_lines(text: str, expected: int) -> None:
    """The line counts where no other line has another label, no category contradicts it, and the prose does not disown it."""
    spec = OutcomeSpec(
        name="s",
        labels=(("keep",), ("remove",)),
        where="line",
        field="verdict",
        category_field="rule",
        beside=("last time",),
    )
    assert expected == outcome(text, spec)


@pytest.mark.parametrize(
    "words", [("\u0130hlal", "i\u0307HLAL"), ("Versto\u00df", "VERSTOSS"), ("\u0939\u093e\u0901",) * 2]
)
def test_caseless(words: tuple[str, str]) -> None:
    """Letter case is compared as Unicode does, in JSON and as a word, whatever lengths it changes."""
    label, said = words
    assert caseless(label) == caseless(said)
    first = OutcomeSpec(name="s", labels=(("ok",), (label,)), where="first-token")
    field = OutcomeSpec(name="s", labels=(("ok",), (label,)), field=label)
    assert [1, 1] == [outcome(f"{said}.", first), outcome(f'{{"{said}": "{said}"}}', field)]


@pytest.mark.parametrize(
    ("text", "setting", "answer"),
    [
        ("<think>hm {1}</think>\nyes", "auto", "\nyes"),
        ("<think>hm", "auto", None),
        ("<think>he says </think>no</think>yes", "auto", None),
        ("yes <think>hm</think> no", "auto", "yes <think>hm</think> no"),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes", "auto", "yes"),
        ("analysishm assistantfinalyes", "harmony", "yes"),
        ("<think>hm</think>yes", "none", "<think>hm</think>yes"),
    ],
)
def test_reasoning(text: str, setting: str, answer: str | None) -> None:
    """What an answer begins with between its marks of reasoning is not the answer; a doubtful end is said."""
    (start, stop), certain = split_reasoning(text, REASONING[setting])
    assert (answer is not None) == certain
    assert answer is None or answer == text[start:stop]


def test_reasoning_before_a_verdict() -> None:
    """What the reasoning tries out is not the verdict, and a cut off answer behind reasoning has none."""
    text = '<think>{"outcome": 0}?</think>{"outcome": 1}'
    assert [1, -1] == [outcome(text), outcome(text, cut=True)]
    assert -1 == outcome('<think>{"outcome": 0}')


def test_reader_keeps_places() -> None:
    """The reader says where each value stands, without its quotes."""
    text = 'so {"a": "x\\u0079", "b": [1, {"a": 2}], "c": 3, } end'
    (item,) = read_objects(text, 0, len(text))
    assert [("a", "xy"), ("b", None), ("c", "3")] == [member[:2] for member in item.members]
    assert ["x\\u0079", '[1, {"a": 2}]', "3"] == [text[slice(*member.span)] for member in item.members]
    assert ("complete", text.index("}", 40) + 1) == (item.ending, item.end)
