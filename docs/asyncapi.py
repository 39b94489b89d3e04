"""The AsyncAPI 3.0 document of the topics, from `topics.toml`: what secondlook receives and sends, and in which shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.contracts import DEAD_LETTER_HEADERS
from streams.kafka.topics import Topic, load_topics
from streams.pipeline.control_signing import HEADER

_SCHEMAS: Final = "../streams/contracts/schemas"
"""Where the schema files are, seen from docs/."""

_BINDING: Final = {"bindingVersion": "0.5.0"}
# The topic settings that AsyncAPI's Kafka binding has a place for.
_BINDING_SETTINGS: Final = ("retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes")


@dataclass(frozen=True, slots=True)
class Contract:
    """How one topic's records look: `schema` is None where they are not JSON."""

    actions: tuple[str, ...]
    name: str
    schema: str | None
    key: str
    about: str = ""
    headers: tuple[str, ...] = ()


_PASSED_ON: Final = "The request's headers, all of them (`traceparent`, `ce_*`, unknown ones), unchanged; its answer's trace context where it has neither `traceparent` nor `tracestate`."

CONTRACTS: Final[Mapping[str, Contract]] = {
    "requests": Contract(
        ("receive",), "request", "request", "The request_id.", "Headers travel to the decision unchanged."
    ),
    "responses": Contract(("receive",), "response", "response", "The request's request_id."),
    "pending": Contract(
        ("receive", "send"), "pending", None, "Kind and id.", "Internal: written and read back by the workers alone."
    ),
    "auto_action": Contract(("send",), "decision", "decision", "The request's.", _PASSED_ON),
    "human_review": Contract(("send",), "decision", "decision", "The request's.", _PASSED_ON),
    "dead_letter": Contract(
        ("send",),
        "dead-letter",
        None,
        "As it came, null included; null as well where the record was too large.",
        "Value and headers as they came, left out where the record was too large to be written, and why it was set aside in "
        "further headers.",
        DEAD_LETTER_HEADERS,
    ),
    "vectors": Contract(
        ("send",),
        "vector",
        "vector",
        "The request's.",
        "The trace context of its decision (`traceparent`, `tracestate`), if that has one.",
    ),
    "human_decisions": Contract(("receive",), "human-decision", "human-decision", "Any; best the request_id."),
    "control": Contract(
        ("receive", "send"), "control", "control", "Not read.", "`secondlook control` writes them.", (HEADER,)
    ),
    "control_status": Contract(("send",), "control-status", "control-status", "The worker's name."),
    "models": Contract(
        ("receive",),
        "model",
        None,
        "`<sha256>/<first byte>`.",
        "The bytes of a model from there on; `secondlook models push` writes them.",
    ),
    "quality": Contract(
        ("receive", "send"),
        "quality",
        None,
        "Of a state, which of two, and which chunk of it; `page/<digest>` of answers that it remembers.",
        "Internal: written and read back by the workers alone.",
    ),
}


def asyncapi() -> dict[str, Any]:
    """The document. `info.version` is that of the contracts, not of the package."""
    topics = load_topics()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "secondlook",
            "version": "1.0.0",
            "description": "Decides which verdicts of an LLM content moderator can be acted on and which need a second "
            "look by a human. Topic names are the defaults; the setting `topic_prefix` comes before them.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {key: _channel(topic, CONTRACTS[key]) for key, topic in topics.items()},
        "operations": {
            f"{action}-{key.replace('_', '-')}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{key}"},
                "messages": [{"$ref": f"#/channels/{key}/messages/{CONTRACTS[key].name}"}],
            }
            for key in topics
            for action in CONTRACTS[key].actions
        },
        "components": {
            "messages": {contract.name: _message(contract) for contract in CONTRACTS.values()},
        },
    }


def _channel(topic: Topic, contract: Contract) -> dict[str, Any]:
    settings: dict[str, Any] = {name: int(topic.config[name]) for name in _BINDING_SETTINGS if name in topic.config}
    settings["cleanup.policy"] = topic.config["cleanup.policy"].split(",")
    return {
        "address": topic.name,
        "description": topic.purpose,
        "messages": {contract.name: {"$ref": f"#/components/messages/{contract.name}"}},
        "bindings": {"kafka": {"partitions": topic.partitions, "topicConfiguration": settings, **_BINDING}},
    }


def _message(contract: Contract) -> dict[str, Any]:
    message: dict[str, Any] = {"name": contract.name}
    if contract.about:
        message["description"] = contract.about
    if contract.headers:
        message["headers"] = {"type": "object", "properties": {name: {"type": "string"} for name in contract.headers}}
    if contract.schema is None:
        message["contentType"] = "application/octet-stream"
    else:
        message["payload"] = {"$ref": f"{_SCHEMAS}/{contract.schema}.v1.json"}
    message["bindings"] = {"kafka": {"key": {"type": "string", "description": contract.key}, **_BINDING}}
    return message
