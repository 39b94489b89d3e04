"""Recorded answers in other words: as the same LLM would have said them, had its prompt asked for a spec's words.

For trying a vocabulary out before there are answers of one's own. Texts change, log-probabilities do not.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from featurizers import PRESETS, OutcomeSpec, ResponseError, decode, featurize
from featurizers.errors import SpecError
from scoring.recording import Item


def reworded(items: Sequence[Item], spec: OutcomeSpec) -> list[Item]:
    """The items of a recording in the form of preset `lpp`, as answers that the spec reads alike; those that it cannot are left out.

    JSON keeps its form, with the spec's fields; of a first word, the token of the outcome is all that is left. Confidences stay numbers of 0 to
    100: on another scale most cannot be read. Raises SpecError on a spec of another kind.
    """
    if spec.where not in {"json-field", "first-token"} or spec.any_of or not spec.labels:
        raise SpecError(
            f"outcome spec {spec.name!r}: recorded answers can be put into the words of one JSON field or of a first word (`where`), "
            "and of `labels`; for another form save answers of your own LLM"
        )
    found = [Item(item.request, _body(item, spec), item.label) for item in items]
    return [new for old, new in zip(items, found, strict=True) if _outcome(old, PRESETS["lpp"]) == _outcome(new, spec)]


def _body(item: Item, spec: OutcomeSpec) -> msgspec.Raw:
    body = json.loads(bytes(item.response))
    choice = body["choices"][0]
    tokens = choice["logprobs"]["content"]
    fields = {
        "outcome": spec.field,
        "confidence": spec.confidence_field or "confidence",
    }
    digit = next((place for place, token in enumerate(tokens) if _code(token["token"]) is not None), None)
    for place, token in enumerate(tokens):
        for one in (token, *token["top_logprobs"]):
            _say(one, _words(one["token"], spec) if place == digit else fields.get(one["token"], one["token"]))
    if not spec.named and digit is not None:
        tokens[:] = tokens[digit : digit + 1]
    choice["message"]["content"] = "".join(token["token"] for token in tokens)
    return msgspec.Raw(json.dumps(body, ensure_ascii=False).encode())


def _say(token: dict[str, Any], text: str) -> None:
    if text != token["token"]:
        token.update(token=text, bytes=list(text.encode()))


def _code(token: str) -> int | None:
    """The outcome that a token of the recording says; its first digit is the outcome's."""
    word = token.strip()
    return int(word) if word in {"0", "1", "2", "3"} else None


def _words(token: str, spec: OutcomeSpec) -> str:
    code = _code(token)
    if code is None or code >= len(spec.labels) or not spec.labels[code]:
        return token
    word = spec.labels[code][0]
    return json.dumps(word, ensure_ascii=False) if spec.where == "json-field" else word


def _outcome(item: Item, spec: OutcomeSpec) -> int:
    try:
        return int(featurize([decode(bytes(item.response))], spec).outcomes[0])
    except ResponseError:
        return -1
