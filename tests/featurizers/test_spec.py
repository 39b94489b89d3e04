"""Outcome specs: presets, files, refusals of broken ones."""

import json
from pathlib import Path

import pytest

from featurizers import PRESETS, SCHEMA, OutcomeSpec, SpecError, decode, featurize, load_spec


def outcome(text: str, spec: OutcomeSpec) -> int:
    value = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
    return int(featurize([decode(value)], spec).outcomes[0])


@pytest.mark.parametrize(
    ("preset", "text", "expected"),
    [
        ("lpp", '{"outcome": 0}', 0),
        ("lpp", '{"outcome": "3"}', 3),
        ("llama-guard", "\n\nsafe", 0),
        ("llama-guard", "\n\nunsafe\nS1", 1),
        ("yes-no", "Yes.", 1),
        ("yes-no", "**No**, because", 0),
        ("allow-block", "ALLOW", 0),
        ("allow-block", "`block`", 1),
        ("true-false", "True", 1),
        ("true-false", " false\n", 0),
        ("yes-no", "Nothing", -1),
        ("yes-no", "The answer is yes", -1),
    ],
)
def test_presets(preset: str, text: str, expected: int) -> None:
    """Each preset reads its own vocabulary, whatever the case and the decoration, and whole words only."""
    assert expected == outcome(text, PRESETS[preset])


def write(folder: Path, text: str) -> Path:
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def test_json_field_spec(tmp_path: Path) -> None:
    """A file names the JSON key and any number of labels for a code."""
    spec = load_spec(
        write(
            tmp_path,
            """
            where = "json-field"
            field = "verdict"
            [labels]
            0 = ["ok", "fine"]
            1 = ["remove", "not allowed"]
            3 = ["policy unclear"]
            [confidence]
            field = "p"
            scale = 1
            [rationale]
            field = "why"
            """,
        )
    )
    assert "spec" == spec.name
    assert [0, 1, 3] == [
        outcome(f'{{"verdict": "{word}"}}', spec) for word in ("Fine", "Not allowed", "policy unclear")
    ]
    assert (1.0, "p", "why") == (spec.confidence_scale, spec.confidence_field, spec.rationale_field)


def test_regex_spec(tmp_path: Path) -> None:
    """A regular expression finds the label anywhere."""
    spec = load_spec(
        write(
            tmp_path,
            """
            name = "prose"
            where = "regex"
            pattern = '(?i)verdict\\s*(?:is|:)\\s*(?P<label>\\w+)'
            [labels]
            0 = ["clean"]
            1 = ["toxic"]
            [confidence]
            pattern = '(\\d+) ?% sure'
            """,
        )
    )
    assert "prose" == spec.name
    assert 1 == outcome("After some thought the verdict is TOXIC, 90 % sure.", spec)


def test_further_settings(tmp_path: Path) -> None:
    """A file may name a score, words of confidence, a category, marks of reasoning, and several fields."""
    text = """
        where = "line"
        any_of = ["user", "reply?"]
        reasoning = ["<r>", "</r>"]
        may_be_cut = true
        [labels]
        0 = ["ok"]
        1 = ["bad"]
        [confidence]
        field = "sure"
        [confidence_words]
        high = 0.9
        [category]
        field = "kind"
        """
    spec = load_spec(write(tmp_path, text))
    value = json.dumps({"body": "<r>user: bad</r>\nuser: ok\nreply: bad\nsure: HIGH\nkind: threat"}).encode()
    vectors = featurize([decode(value)], spec)
    assert ([1], ["threat"]) == (vectors.outcomes.tolist(), vectors.categories)
    assert pytest.approx(0.9) == vectors.values[0, SCHEMA.names.index("stated_confidence")]
    score = load_spec(write(tmp_path, '[score]\nfield = "p"\nviolation_at = 0.5'))
    assert [1, 0] == [outcome(f'{{"p": {number}}}', score) for number in (0.5, 0.4)]


def test_what_stands_around(tmp_path: Path) -> None:
    """A file may refuse prose around the JSON, and name lines beside the outcome's."""
    labels = '[labels]\n0 = ["ok"]\n1 = ["bad"]'
    strict = load_spec(write(tmp_path, f'prose = "refused"\n{labels}'))
    assert [1, -1] == [outcome(text, strict) for text in ('{"outcome": "bad"}', 'So: {"outcome": "bad"}')]
    lines = load_spec(write(tmp_path, f'where = "line"\nbeside = ["Before"]\n{labels}'))
    assert [0, -1] == [outcome(f"outcome: ok\n{name}: bad", lines) for name in ("before", "after")]


def test_own_refusal_pattern() -> None:
    """A spec may say what a refusal looks like."""
    spec = OutcomeSpec(name="s", labels=(("0",), ("1",)), refusal="nope")
    value = b'{"choices": [{"message": {"content": "Nope!"}}]}'
    assert ["refusal"] == featurize([decode(value)], spec).problems


BROKEN = {
    "unknown preset or file": ("", "no such preset"),
    "not TOML": ("= 1", "spec.toml"),
    "no labels": ('field = "x"', "labels"),
    "unknown setting": ('fild = "x"\n[labels]\n0 = ["a"]\n1 = ["b"]', "fild"),
    "unknown code": ('[labels]\n0 = ["a"]\n1 = ["b"]\n4 = ["c"]', "no code '4' .in `labels`"),
    "wrong type": ('[labels]\n0 = "a"\n1 = ["b"]', "must be a list, not a text .in `labels`"),
    "half a score": ('[score]\nfield = "x"', "must be `violation_at` .in `score`"),
    "score and labels": (
        '[labels]\n0 = ["a"]\n1 = ["b"]\n[score]\nfield = "x"\nviolation_at = 1',
        "no labels beside it",
    ),
    "score of a word": ('where = "first-token"\n[score]\nfield = "x"\nviolation_at = 1', "need `where"),
    "half a reasoning": ('reasoning = ["a"]\n[labels]\n0 = ["a"]\n1 = ["b"]', "a list of 2, not of 1"),
    "unknown reasoning": ('reasoning = "x"\n[labels]\n0 = ["a"]\n1 = ["b"]', "auto, harmony, none, think"),
    "word beyond 1": (
        '[labels]\n0 = ["a"]\n1 = ["b"]\n[confidence]\nfield = "c"\n[confidence_words]\nhigh = 90',
        "from 0 to 1",
    ),
    "words of nothing": ('[labels]\n0 = ["a"]\n1 = ["b"]\n[confidence_words]\nhigh = 0.9', "need a confidence"),
    "code without label": ('[labels]\n0 = ["a"]', "codes 0 and 1"),
    "label of two codes": ('[labels]\n0 = ["a"]\n1 = ["A"]', "both code 0 and code 1"),
    "blank label": ('[labels]\n0 = [" a"]\n1 = ["b"]', "blanks"),
    "unknown place": ('where = "there"\n[labels]\n0 = ["a"]\n1 = ["b"]', "json-field, line, first-token, regex"),
    "regex without pattern": ('where = "regex"\n[labels]\n0 = ["a"]\n1 = ["b"]', "belong together"),
    "pattern without regex": ('pattern = "(a)"\n[labels]\n0 = ["a"]\n1 = ["b"]', "belong together"),
    "broken pattern": ('where = "regex"\npattern = "("\n[labels]\n0 = ["a"]\n1 = ["b"]', "regular expression"),
    "pattern without group": ('where = "regex"\npattern = "a"\n[labels]\n0 = ["a"]\n1 = ["b"]', "no group"),
    "scale 0": ('[labels]\n0 = ["a"]\n1 = ["b"]\n[confidence]\nfield = "c"\nscale = 0', "positive"),
    "both ways": ('[labels]\n0 = ["a"]\n1 = ["b"]\n[confidence]\nfield = "c"\npattern = "(c)"', "give one"),
    "one key twice": ('[labels]\n0 = ["a"]\n1 = ["b"]\n[confidence]\nfield = "Outcome"', "fields of their own"),
    "unknown prose": ('prose = "x"\n[labels]\n0 = ["a"]\n1 = ["b"]', "read, refused"),
    "prose around lines": (
        'where = "line"\nprose = "refused"\n[labels]\n0 = ["a"]\n1 = ["b"]',
        'needs `where = "json-field"',
    ),
    "lines beside JSON": ('beside = ["x"]\n[labels]\n0 = ["a"]\n1 = ["b"]', 'needs `where = "line"'),
    "empty key": ('field = ""\n[labels]\n0 = ["a"]\n1 = ["b"]', "empty"),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=BROKEN)
def test_broken_spec(tmp_path: Path, text: str, reason: str) -> None:
    """A broken spec is refused with the reason."""
    path = write(tmp_path, text) if text else tmp_path / "missing.toml"
    with pytest.raises(SpecError, match=reason):
        load_spec(path)
