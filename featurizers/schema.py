"""The feature list: one declarative table from which schema, documentation and validation come.

p = exp(l) is the probability of an emitted token, T the number of tokens of the answer. At the outcome token m_j is the
probability that goes to label j, M its sum over the labels, q_j = m_j / M.
"""

from collections.abc import Iterator
from dataclasses import dataclass

PAPER = "arXiv:2601.07006"
UQLM = "UQLM white-box scorers"
LM_POLYGRAPH = "LM-Polygraph"
OURS = "secondlook"


@dataclass(frozen=True)
class Feature:
    """One predictor: a column of the vectors.

    `low` and `high` bound every value that is not missing; `always` says that it never is.
    """

    name: str
    family: str
    formula: str
    low: float
    high: float
    unit: str
    source: str
    always: bool = False


@dataclass(frozen=True)
class FeatureSchema:
    """The ordered, versioned list of predictors. Any change of names, order or meaning is a new `id`."""

    id: str
    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the d columns, in order."""
        return tuple(feature.name for feature in self.features)


LIKELY = 0.5  # the probability below which `low_probability_fraction` counts a token
INF = float("inf")
LN_LABELS = 1.3862943611198906  # ln 4: the entropy of four equally likely labels

_OUTCOME = (
    Feature("outcome_logprob", "outcome", "l of the outcome label's token(s), summed", -INF, 0, "nat", PAPER),
    Feature("outcome_max_softmax", "outcome", "max_j q_j", 0.25, 1, "probability", PAPER),
    Feature("outcome_entropy", "outcome", "-sum_j q_j ln q_j", 0, LN_LABELS, "nat", PAPER),
    Feature("outcome_margin", "outcome", "q_(1) - q_(2)", 0, 1, "probability", PAPER),
    Feature("outcome_log_margin", "outcome", "ln q_(1) - ln q_(2)", 0, INF, "nat", PAPER),
    Feature("outcome_coverage", "outcome", "M = sum_j m_j", 0, 1, "probability", PAPER),
)

_SEQUENCE = (
    Feature("sequence_logprob_mean", "sequence", "mean_t l_t", -INF, 0, "nat", f"{UQLM}, {LM_POLYGRAPH}"),
    Feature("sequence_logprob_min", "sequence", "min_t l_t", -INF, 0, "nat", UQLM),
    Feature("sequence_logprob_std", "sequence", "population standard deviation of l_t", 0, INF, "nat", OURS),
    Feature("sequence_logprob_sum", "sequence", "sum_t l_t", -INF, 0, "nat", f"{UQLM}, {LM_POLYGRAPH}"),
    Feature("sequence_perplexity", "sequence", "exp(-mean_t l_t)", 1, INF, "1", LM_POLYGRAPH),
    Feature("sequence_entropy_mean", "sequence", "mean_t H_t", 0, INF, "nat", f"{UQLM}, {LM_POLYGRAPH}"),
    Feature("sequence_entropy_max", "sequence", "max_t H_t", 0, INF, "nat", UQLM),
    Feature("sequence_margin_mean", "sequence", "mean_t (r_(1) - r_(2))", 0, 1, "probability", UQLM),
    Feature("sequence_margin_min", "sequence", "min_t (r_(1) - r_(2))", 0, 1, "probability", OURS),
    Feature("token_count", "sequence", "T", 1, INF, "tokens", OURS),
    Feature("low_probability_fraction", "sequence", "share of tokens with p < 0.5", 0, 1, "fraction", OURS),
)

_CONFIDENCE = (
    Feature("stated_confidence", "confidence", "c, as the answer states it", 0, 1, "probability", PAPER),
    Feature("stated_confidence_logprob", "confidence", "sum of l over the tokens of c", -INF, 0, "nat", PAPER),
    Feature("stated_confidence_missing", "confidence", "1 if no c is stated, else 0", 0, 1, "flag", PAPER, always=True),
)

_ATTRIBUTION = (
    Feature("q_evidence_deficiency", "attribution", "q_2", 0, 1, "probability", PAPER),
    Feature("q_policy_gap", "attribution", "q_3", 0, 1, "probability", PAPER),
    Feature("outcome_is_evidence_deficiency", "attribution", "1 if the outcome is 2, else 0", 0, 1, "flag", PAPER),
    Feature("outcome_is_policy_gap", "attribution", "1 if the outcome is 3, else 0", 0, 1, "flag", PAPER),
)

_DECISION = (
    Feature("q_violation", "decision", "q_1", 0, 1, "probability", OURS),
    Feature("outcome_is_violation", "decision", "1 if the outcome is 1, else 0", 0, 1, "flag", OURS),
)


def _span(span: str) -> Iterator[Feature]:
    """The sequence statistics of one part of the answer."""
    family, over = f"{span} span", f"over the {span}'s tokens"
    yield Feature(f"{span}_sequence_logprob_mean", family, f"mean_t l_t {over}", -INF, 0, "nat", OURS)
    yield Feature(f"{span}_sequence_logprob_min", family, f"min_t l_t {over}", -INF, 0, "nat", OURS)
    yield Feature(f"{span}_sequence_entropy_mean", family, f"mean_t H_t {over}", 0, INF, "nat", OURS)
    yield Feature(f"{span}_sequence_margin_mean", family, f"mean_t (r_(1) - r_(2)) {over}", 0, 1, "probability", OURS)
    yield Feature(f"{span}_token_count", family, f"T {over}", 1, INF, "tokens", OURS)


SPANS = ("outcome", "confidence", "rationale")

SCHEMA = FeatureSchema(
    id="lpp/1",
    features=(
        *_OUTCOME,
        *_SEQUENCE,
        *_CONFIDENCE,
        *_ATTRIBUTION,
        *_DECISION,
        *(feature for span in SPANS for feature in _span(span)),
    ),
)
