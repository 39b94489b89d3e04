"""The contract of a human decision: what a review tool writes, and both the live figures and training read."""

from typing import Literal

import msgspec


class ReviewedLlm(msgspec.Struct):
    """What the LLM had said, as in the reviewed decision."""

    outcome: int | None = None


class HumanDecision(msgspec.Struct):
    """A human's answer to one review. `llm` repeats that of the decision, so that no store is needed to compare them."""

    request_id: str
    policy: str
    outcome: Literal[0, 1, 2, 3]
    llm: ReviewedLlm | None = None

    @property
    def label(self) -> Literal[0, 1] | None:
        """0 or 1 for a verdict; None where the human found too little evidence (2) or a gap in the policy (3)."""
        return self.outcome if self.outcome in (0, 1) else None
