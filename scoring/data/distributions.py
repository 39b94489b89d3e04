"""Label distributions: what is left of an answer of one token when its text is not published.

A line is `{"label": "1", "logprobs": {"0": -2.3, "1": -0.1}, "gold": 0}`: the token that was said, the log-probabilities (nats) of
the alternatives that were returned, and the label. `id`, `policy`, `language`, `llm` and `group` may stand beside them.
It is read as the answer of one token that it is: the featurizer gives the same predictors as of any such answer.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from featurizers import OutcomeSpec
from scoring.data.dataset import Dataset, from_items
from scoring.errors import DataError
from scoring.recording import Item, decoded, read_lines

_VOCABULARIES = (
    ("0", "1", "2", "3"),
    ("safe", "unsafe"),
    ("no", "yes"),
    ("allow", "block"),
    ("false", "true"),
)
"""The labels that are known, each in the order of the outcomes 0..3."""
_EXPECTED = '{"label": "1", "logprobs": {"0": -2.3, "1": -0.1}, "gold": 0 or 1}'
_POLICY = "all"
_NOT_RETURNED = -9999.0  # the APIs' word for a token that is not among the top k


class _Distribution(msgspec.Struct):
    label: str | int | bool
    logprobs: dict[str, Annotated[float, msgspec.Meta(le=0.001)]]
    gold: Literal[0, 1] | bool
    id: str | None = None
    policy: str = _POLICY
    language: str | None = None
    llm: str | None = None
    group: str | None = None

    @property
    def word(self) -> str:
        """The label as its token says it."""
        return str(self.label).strip().lower()


def is_distribution(fields: Any) -> bool:
    """Whether a line with these fields is a label distribution."""
    return {"label", "logprobs"} <= set(fields)


def read_distributions(path: Path) -> Dataset:
    """Read a file of label distributions (.xz, .gz). An item without an id is named by file and line. Raises DataError."""
    items = []
    spec = None
    for where, one in decoded(read_lines(path), _Distribution, _EXPECTED):
        spec = spec or _spec_of(one.word)
        if spec is None or not any(one.word in words for words in spec.labels):
            known = "; ".join("/".join(words) for words in _VOCABULARIES)
            raise DataError(
                f"{where}: the label {one.word!r} is none that is known ({known}), or not of those of the lines before."
            )
        items.append(_item(one, one.id or f"{path.name}:{where.rpartition(':')[2]}"))
    return from_items(items, spec or _spec(_VOCABULARIES[0]))


def _spec_of(word: str) -> OutcomeSpec | None:
    return next((_spec(words) for words in _VOCABULARIES if word in words), None)


def _spec(words: tuple[str, ...]) -> OutcomeSpec:
    return OutcomeSpec(name="label", labels=tuple((word,) for word in words), where="first-token")


def _item(one: _Distribution, request_id: str) -> Item:
    """The distribution as a chat body of one token."""
    alternatives = [{"token": token, "logprob": logprob} for token, logprob in one.logprobs.items()]
    said = [logprob for token, logprob in one.logprobs.items() if token.strip().lower() == one.word]
    token = {"token": one.word, "logprob": max(said, default=_NOT_RETURNED), "top_logprobs": alternatives}
    choice = {"message": {"role": "assistant", "content": one.word}, "logprobs": {"content": [token]}}
    request: dict[str, Any] = {"request_id": request_id, "policy": one.policy, "language": one.language}
    if one.group is not None:
        request["content"] = {"sha256": one.group}
    body = {"model": one.llm, "choices": [choice]}
    return Item(request, msgspec.Raw(json.dumps(body).encode()), 1 if one.gold else 0)
