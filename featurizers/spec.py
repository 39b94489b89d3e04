"""Outcome specs: where the label sits in an answer and which strings mean which outcome code."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

Where = Literal["json-field", "first-token", "regex"]
CODES = (0, 1, 2, 3)


@dataclasses.dataclass(frozen=True)
class OutcomeSpec:
    """How to read an LLM's answer.

    `labels` maps each code (0 no violation, 1 violation, 2 evidence deficiency, 3 policy gap) to its strings; case does
    not matter. `field` is the JSON key of the label. The stated confidence is the number at `confidence_field`, divided by
    `confidence_scale`; `rationale_field` is the JSON key of a free-text explanation.
    """

    name: str
    labels: Mapping[int, tuple[str, ...]]
    where: Where = "json-field"
    field: str = "outcome"
    confidence_field: str | None = "confidence"
    confidence_scale: float = 100.0
    rationale_field: str | None = "rationale"
    codes: dict[str, int] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        codes = {label.casefold(): code for code, labels in self.labels.items() for label in labels}
        object.__setattr__(self, "codes", codes)


PRESETS: dict[str, OutcomeSpec] = {
    "lpp": OutcomeSpec(name="lpp", labels={0: ("0",), 1: ("1",), 2: ("2",), 3: ("3",)}),
}
