"""Several specs in one directory."""

import json
from pathlib import Path

import numpy as np
import pytest

from featurizers import PRESETS, SpecBook, SpecError, decode, featurize, featurize_each, load_specs

FILES = {
    "10-guard.toml": 'preset = "llama-guard"\n[match]\nllm = "meta/*"\nprovider = "openai-chat"',
    "20-hate.toml": 'name = "hate"\nfield = "v"\n[labels]\n0 = ["a"]\n1 = ["b"]\n[match]\npolicy = "hate"\nheader = {tier = "gold"}',
    "30-rest.toml": 'preset = "lpp"\nname = "rest"\n[match]\nprovider = "openai-*"',
}


@pytest.fixture
def book(tmp_path: Path) -> SpecBook:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return load_specs(tmp_path)


@pytest.mark.parametrize(
    ("provider", "llm", "policy", "headers", "expected"),
    [
        ("openai-chat", "meta/guard", "hate", [("tier", b"gold")], "10-guard"),
        ("completions", "meta/guard", "hate", [("tier", b"gold")], "hate"),
        ("openai-chat", None, "hate", [("tier", b"gold"), ("tier", b"iron")], "hate"),
        ("openai-chat", None, "hate", [("tier", b"iron"), ("tier", b"gold")], "rest"),
        ("openai-responses", "m", "spam", [], "rest"),
        ("gemini", "m", "spam", [], "none"),
    ],
)
def test_first_match(
    book: SpecBook, provider: str, llm: str | None, policy: str, headers: list[tuple[str, bytes | None]], expected: str
) -> None:
    """The first spec that fits in everything it names reads the answer; without any, none does."""
    assert expected == book.choose(provider=provider, llm=llm, policy=policy, headers=headers).name


def test_no_spec_finds_no_outcome(book: SpecBook) -> None:
    """An answer that no spec is for goes to a human, whatever it says."""
    spec = book.choose(provider="gemini", llm=None, policy="p", headers=[])
    assert [-1] == featurize([decode(b'{"body": "0"}')], spec).outcomes.tolist()


def test_featurize_each() -> None:
    """A batch by several specs has the vectors that each answer has by its own, in the batch's order."""
    texts = ['{"outcome": 1}', "unsafe\nS1", '{"outcome": 2}', "no"]
    specs = [PRESETS[name] for name in ("lpp", "llama-guard", "lpp", "yes-no")]
    responses = [decode(json.dumps({"body": text}).encode()) for text in texts]
    together = featurize_each(responses, specs)
    alone = [featurize([response], spec) for response, spec in zip(responses, specs, strict=True)]
    assert [1, 1, 2, 0] == together.outcomes.tolist()
    assert [None, "S1", None, None] == together.categories
    assert [spec.name for spec in specs] == together.specs
    assert np.array_equal(np.concatenate([one.values for one in alone]), together.values, equal_nan=True)
    assert 0 == len(featurize_each([], []).values)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no .toml file"),
        ({"a.toml": 'preset = "acme"'}, "no preset"),
        ({"a.toml": 'preset = "lpp"\nfield = "x"'}, "beside `preset`"),
        ({"a.toml": 'preset = "lpp"\nname = "n"', "b.toml": 'preset = "yes-no"\nname = "n"'}, "the name 'n'"),
        ({"a.toml": 'preset = "lpp"\n[match]\nmodel = "x"'}, "no setting `model` .in `match`"),
    ],
)
def test_unusable_directory(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    """A directory that cannot be used is refused with the reason."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(SpecError, match=reason):
        load_specs(tmp_path)
