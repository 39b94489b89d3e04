"""The outcome specs that ship: ours, plain vocabularies, and the guard families' own output formats."""

from featurizers.spec import OutcomeSpec, Where

_IN_WORDS = (("high", 0.9), ("medium", 0.6), ("low", 0.3))


def _first_word(name: str, no_violation: str, violation: str) -> OutcomeSpec:
    return OutcomeSpec(name=name, labels=((no_violation,), (violation,)), where="first-token")


def _any_line(name: str, category: str | None = None) -> OutcomeSpec:
    where: Where = "line"
    return OutcomeSpec(
        name=name,
        labels=(("no", "n/a"), ("yes",)),
        where=where,
        any_of=("Harmful request", "Harmful response"),
        beside=("Response refusal",),
        category_pattern=category,
    )


PRESETS: dict[str, OutcomeSpec] = {
    spec.name: spec
    for spec in (
        OutcomeSpec(
            name="lpp",
            labels=(("0",), ("1",), ("2",), ("3",)),
            confidence_field="confidence",
            rationale_field="rationale",
        ),
        OutcomeSpec(
            name="llama-guard",
            labels=(("safe",), ("unsafe",)),
            where="regex",
            pattern=r"(?i)\A[\s*_`]*+(?P<label>safe(?=[\s*_`]*+\Z)|unsafe(?=(?:[\s*_`,]++[a-z]{1,2}\d{1,3}\b)*+[\s*_`]*+\Z))",
            category_pattern=r"(?i)\A\s*unsafe\s*\n\s*([^\n]*\S)",
        ),
        _first_word("yes-no", "no", "yes"),
        _first_word("allow-block", "allow", "block"),
        _first_word("true-false", "false", "true"),
        _first_word("zero-one", "0", "1"),
        OutcomeSpec(
            name="cope",
            labels=(("0",), ("1",)),
            where="regex",
            pattern=r"\A\s*+(?P<label>[01])\s*+\Z",
        ),
        _first_word("shieldgemma", "no", "yes"),
        # 3.0 to 3.1 say the word alone, 3.2 a confidence in words behind it, 3.3 and 4 a score in tags.
        OutcomeSpec(
            name="granite-guardian",
            labels=(("no",), ("yes",)),
            where="regex",
            pattern=r"(?i)\A\s*+(?:<score>\s*+)?(?P<label>yes|no)\s*+(?:</score>\s*+)?(?:<confidence>[^<]*+</confidence>\s*+)?\Z",
            confidence_pattern=r"(?i)<confidence>\s*(\w+)\s*</confidence>\s*\Z",
            confidence_words=(("high", 0.9), ("low", 0.3)),
        ),
        _any_line("wildguard"),
        # Request and response have a line of categories each; the one that has no violation says "None".
        _any_line(
            "polyguard", r"(?im)^[ \t]*+re(?:quest|sponse) safety violations:[ \t]*+(?!none[^\S\n]*+$)([^\n]*\S)"
        ),
        OutcomeSpec(
            name="qwen3guard",
            labels=(("safe",), ("unsafe",), ("controversial",)),
            where="line",
            field="Safety",
            category_field="Categories",
        ),
        OutcomeSpec(
            name="nemoguard",
            labels=(("safe",), ("unsafe",)),
            any_of=("User Safety", "Response Safety?"),
            category_field="Safety Categories",
        ),
        # The same, as lines: Nemotron 3 and 3.5 content safety.
        OutcomeSpec(
            name="nemotron-content-safety",
            labels=(("safe",), ("unsafe",)),
            where="line",
            any_of=("User Safety", "Response Safety?"),
            category_field="Safety Categories",
        ),
        OutcomeSpec(
            name="nemotron-safety-reasoning",
            labels=(("unharmful",), ("harmful",)),
            where="line",
            any_of=("Prompt harm", "Response harm?"),
        ),
        OutcomeSpec(
            name="gpt-oss-safeguard",
            labels=(("0", "false"), ("1", "true")),
            field="violation",
            confidence_field="confidence",
            confidence_words=_IN_WORDS,
            rationale_field="rationale",
            category_field="policy_category",
        ),
    )
}
