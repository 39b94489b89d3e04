"""What the demo sends: held-out items of the recording, in time, with the faults that real traffic has. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import orjson

from scoring import Item
from streams.pipeline.records import REQUESTS, RESPONSES

_SEED = 20260107
_DISORDER = 0.1
_MEAN_DELAY = 0.3
_LONGEST_DELAY = 1.5


class Fault(StrEnum):
    """What the demo does to some of the records."""

    TRUNCATED_RESPONSE = "response cut off in transit"
    UNREADABLE_ANSWER = "response with a body that is no answer"
    MISSING_RESPONSE = "response never sent"
    NO_LOGPROBS = "response without log-probabilities"
    DUPLICATE_RESPONSE = "response sent twice"
    DUPLICATE_REQUEST = "request sent twice"
    GARBAGE_REQUEST = "bytes that are no request"
    ORPHAN_RESPONSE = "response to a request never made"


EACH_FAULT = 3


@dataclass(frozen=True, slots=True, order=True)
class Send:
    """One record to produce, `at` seconds after the start."""

    at: float
    topic: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Script:
    """Everything to send, in order of time; the items by request id; and which ids have which fault."""

    sends: list[Send]
    items: dict[str, Item]
    faults: dict[str, Fault]

    @property
    def seconds(self) -> float:
        """How long sending takes."""
        return self.sends[-1].at

    def answered_before(self, at: float) -> set[str]:
        """The requests that can be decided from what is sent before that time."""
        sent = {(send.topic, send.key.decode()) for send in self.sends if send.at < at}
        return {
            one
            for one in self.items
            if {(REQUESTS, one), (RESPONSES, one)} <= sent and self.faults.get(one) is not Fault.TRUNCATED_RESPONSE
        }


def write_script(items: Sequence[Item], *, rate: float) -> Script:
    """Requests at `rate` per second; responses after the LLM's delay, some of them before their request."""
    rng = random.Random(_SEED)  # noqa: S311 - a reproducible demo, not a secret
    ids = [item.request["request_id"] for item in items]
    drawn = rng.sample(ids, EACH_FAULT * len(Fault))
    faults = {request_id: list(Fault)[place % len(Fault)] for place, request_id in enumerate(drawn)}
    sends: list[Send] = []
    for place, (request_id, item) in enumerate(zip(ids, items, strict=True)):
        at = place / rate
        delay = min(rng.expovariate(1 / _MEAN_DELAY), _LONGEST_DELAY)
        if rng.random() < _DISORDER:
            delay = -min(delay, at)
        sends += _sends(request_id, item, faults.get(request_id), at, at + delay)
    return Script(sorted(sends), dict(zip(ids, items, strict=True)), faults)


def _sends(request_id: str, item: Item, fault: Fault | None, at: float, answered: float) -> list[Send]:
    """One item's records, its fault worked in."""
    key = request_id.encode()
    request = Send(at, REQUESTS, key, orjson.dumps(item.request))
    body = orjson.Fragment(bytes(item.response))
    response = Send(answered, RESPONSES, key, _envelope(request_id, body))
    stray = f"stray-{request_id}"
    match fault:
        case Fault.TRUNCATED_RESPONSE:
            return [request, Send(answered, RESPONSES, key, response.value[: len(response.value) // 2])]
        case Fault.UNREADABLE_ANSWER:
            return [request, Send(answered, RESPONSES, key, _envelope(request_id, {"choices": "upstream timeout"}))]
        case Fault.MISSING_RESPONSE:
            return [request]
        case Fault.NO_LOGPROBS:
            whole = orjson.loads(bytes(item.response))
            bare = {**whole, "choices": [{**choice, "logprobs": None} for choice in whole["choices"]]}
            return [request, Send(answered, RESPONSES, key, _envelope(request_id, bare))]
        case Fault.DUPLICATE_RESPONSE:
            return [request, response, Send(answered + 0.2, RESPONSES, key, response.value)]
        case Fault.DUPLICATE_REQUEST:
            return [request, response, Send(at + 0.2, REQUESTS, key, request.value)]
        case Fault.GARBAGE_REQUEST:
            return [request, response, Send(at, REQUESTS, stray.encode(), b"\x00\xffnot json")]
        case Fault.ORPHAN_RESPONSE:
            return [request, response, Send(at, RESPONSES, stray.encode(), _envelope(stray, body))]
        case None:
            return [request, response]


def _envelope(request_id: str, body: object) -> bytes:
    return orjson.dumps({"request_id": request_id, "provider": "openai-chat", "body": body})
