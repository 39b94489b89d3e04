"""`python -m docs.generate` writes what the docs say of the code, from the code.

That is docs/reference.md, docs/asyncapi.json, the Grafana board, the tables of docs/predictors.md and docs/brokers.md, and one schema.

The control messages' schema comes from their structs; the other schemas are written by hand and checked by the tests.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from docs.asyncapi import asyncapi
from docs.board import board
from docs.panels import ROWS
from featurizers import SCHEMA, Feature
from featurizers.providers import FORMATS
from featurizers.schema import INF, LN_LABELS
from streams.cli.main import main as cli
from streams.contracts import SCHEMAS, load_schema
from streams.contracts.headers import ERROR_CODE
from streams.kafka.clients import CONSUMER_DEFAULTS, OURS, PRODUCER_DEFAULTS
from streams.kafka.rights import rights_markdown
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import ControlMessage
from streams.pipeline.reasons import DEAD_LETTERS, REASONS, REFUSALS
from streams.settings import settings_markdown
from streams.worker.metrics import described

COMMAND: Final = "make docs"

_ROOT: Final = Path(__file__).parents[1]
_HELP_WIDTH: Final = 100
_PREDICTORS: Final = Path("docs/predictors.md")
_BROKERS: Final = Path("docs/brokers.md")


def generate() -> dict[Path, str]:
    """Every generated file, by its path in the repository."""
    return {
        Path("streams/contracts/schemas/control.v1.json"): _json(control_schema()),
        Path("docs/asyncapi.json"): _json(asyncapi()),
        Path("docs/reference.md"): reference_markdown(),
        Path("deploy/grafana/dashboards/secondlook.json"): board(ROWS),
        _PREDICTORS: _predictors_page(),
        _BROKERS: renewed((_ROOT / _BROKERS).read_text(encoding="utf-8"), "rights", rights_markdown()),
    }


def control_schema() -> dict[str, Any]:
    """The JSON Schema of control messages, from their structs."""
    schema = msgspec.json.schema(ControlMessage)
    for message in _messages(schema):
        message["description"] = cleandoc(message["description"])  # from Python 3.13 on the compiler does it
        message["properties"]["type"]["description"] = "What to change."  # the one field that the structs do not state
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://secondlook.dev/schemas/control.v1.json",
        "title": "Control message",
        "description": "What an operator changes while the stream runs. Validated whole, then in force at once for every "
        "policy that it names; a message that is refused changes nothing and control-status says why.",
        "type": "object",
        "anyOf": schema["anyOf"],
        "$defs": schema["$defs"],
    }


def _messages(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The kinds of control messages, without what they are made of."""
    return [schema["$defs"][one["$ref"].removeprefix("#/$defs/")] for one in schema["anyOf"]]


def reference_markdown() -> str:
    """docs/reference.md."""
    sections = {
        "Settings": _settings(),
        "Commands": "\n\n".join(_command_help(cli, click.Context(cli, info_name="secondlook", **cli.context_settings))),
        "Topics": _topics(),
        "Data contracts": _contracts(),
        "Reason codes": table(("code", "what it means"), ((f"`{code}`", text) for code, text in REASONS.items())),
        "Dead-letter codes": f"The header `{ERROR_CODE}` of a dead letter.\n\n"
        + table(("code", "what it means"), ((f"`{code}`", text) for code, text in DEAD_LETTERS.items())),
        "Why a control message is refused": table(
            ("code", "what it means"), ((f"`{code}`", text) for code, text in REFUSALS.items())
        ),
        "Metrics": _metrics(),
    }
    head = f"# Reference\n\nWritten by `{COMMAND}` from the code; do not edit.\n"
    return head + "".join(f"\n## {title}\n\n{body}\n" for title, body in sections.items())


def _predictors_page() -> str:
    """docs/predictors.md, which is written by hand but for two tables."""
    predictors = (
        (f"`{feature.name}`", feature.family, feature.formula, _range(feature), feature.unit, feature.source)
        for feature in SCHEMA.features
    )
    providers = ((f"`{name}`", one.tokens, one.traps) for name, one in FORMATS.items())
    page = (_ROOT / _PREDICTORS).read_text(encoding="utf-8")
    columns = table(("name", "family", "formula", "range", "unit", "source"), predictors)
    page = renewed(page, "predictors", f"Schema `{SCHEMA.id}`, the columns of the vectors in order:\n\n{columns}")
    traps = ("name", "tokens, in whichever of these shapes", "traps that are taken care of")
    return renewed(page, "providers", table(traps, providers))


def renewed(page: str, name: str, text: str, command: str = COMMAND) -> str:
    """The page with another text between the marks of this name."""
    begin, end = f"<!-- generated by `{command}`: {name} -->", "<!-- end -->"
    before, rest = page.split(begin)
    _, after = rest.split(end, 1)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _range(feature: Feature) -> str:
    special = {-INF: "-inf", INF: "inf", LN_LABELS: "ln 4"}
    low, high = (special.get(bound, f"{bound:g}") for bound in (feature.low, feature.high))
    return f"{low} to {high}" + ("" if feature.always else ", or missing")


def _settings() -> str:
    return (
        "From environment variables, a TOML file (`--config`) and flags, the later ones winning. Kafka client options pass "
        "through to librdkafka: `-X NAME=VALUE`, a `[kafka]` table in the file, or `SECONDLOOK_KAFKA_` and the option's name "
        "in capitals with `_` for `.`. Where that name ends in `_FILE` the value is read from the file it names.\n\n"
    ) + "\n\n".join((settings_markdown(), *_client_options()))


def _client_options() -> Iterator[str]:
    """What is ours among the Kafka client's options: other defaults, and what cannot be given."""
    yield "Of the Kafka client's options these have other defaults than librdkafka's own; give them another value like any option:"
    clients = {"group consumer": CONSUMER_DEFAULTS, "producer": PRODUCER_DEFAULTS}
    defaults = ((f"`{name}`", of, f"`{value}`") for of, options in clients.items() for name, value in options.items())
    yield table(("option", "of", "default"), defaults)
    yield "These are refused:"
    yield table(("option", "why"), ((f"`{name}`", why) for name, why in OURS.items()))


def _command_help(command: click.Command, context: click.Context) -> Iterator[str]:
    """The help of a command and of all below it, depth first, at one width whatever the terminal's."""
    context.terminal_width = _HELP_WIDTH
    yield f"### {context.command_path}\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from _command_help(below, click.Context(below, info_name=name, parent=context))


def _topics() -> str:
    rows = (
        (
            f"`{topic.name}`",
            str(topic.partitions),
            topic.config["cleanup.policy"],
            _retention(topic.config),
            topic.purpose,
        )
        for topic in load_topics().values()
    )
    head = "Defined in [topics.toml](../deploy/topics.toml); [asyncapi.json](asyncapi.json) has the same in AsyncAPI 3.0.\n\n"
    return head + table(("topic", "partitions", "cleanup", "kept for", "purpose"), rows)


def _retention(config: Mapping[str, str]) -> str:
    if "delete" not in config["cleanup.policy"]:
        return "the last of each key"
    milliseconds = int(config["retention.ms"])
    return "ever" if milliseconds < 0 else f"{milliseconds / 86_400_000:g} days"


def _metrics() -> str:
    cells = (
        (f"`{one.name}`", one.type, ", ".join(f"`{label}`" for label in one.labels), one.about) for one in described()
    )
    head = "Beside these `/metrics` has Prometheus' own of the process: `process_resident_memory_bytes`, `process_cpu_seconds_total`, …\n\n"
    return head + table(("metric", "type", "labels", "what it counts"), cells)


def _contracts() -> str:
    head = (
        "JSON in UTF-8, each with its JSON Schema (2020-12). A producer may add fields of its own, except to a control "
        "message: there a field that nobody knows is a mistake, and the message is refused.\n"
    )
    parts = []
    for name in SCHEMAS:
        schema = control_schema() if name == "control" else load_schema(name)
        link = f"[{name}.v1.json](../streams/contracts/schemas/{name}.v1.json)"
        parts.append(f"\n### {schema['title']}\n\n{schema['description']} Schema: {link}.\n")
        variants = _messages(schema) if name == "control" else [schema]
        for variant in variants:
            if variant is not schema:
                parts.append(f"\n`{variant['properties']['type']['enum'][0]}`: {variant['description']}\n")
            parts.append("\n" + table(("field", "type", "required", "what it is"), _fields(variant)) + "\n")
    return head + "".join(parts).rstrip("\n")


def _fields(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    for name, field in schema["properties"].items():
        required = "yes" if name in schema.get("required", ()) else ""
        yield f"`{prefix}{name}`", _type(field), required, field["description"]
        if "properties" in field:
            yield from _fields(field, f"{prefix}{name}.")
        elif "properties" in field.get("items", {}):
            yield from _fields(field["items"], f"{prefix}{name}[].")


def _type(field: Mapping[str, Any]) -> str:
    """A field's JSON types, or its values where they are listed."""
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "$ref" in field:
        return "object"
    if "enum" in field:
        return " or ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    kinds = field.get("type", "any")
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every generated file into this checkout."""
    for path, text in generate().items():
        (_ROOT / path).write_text(text, encoding="utf-8")
        click.echo(f"wrote {path}")


if __name__ == "__main__":
    main()
