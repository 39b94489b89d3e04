"""`python -m docs.generate` writes what is said of the code from the code: docs/reference.md, docs/asyncapi.json, one schema.

The control messages' schema comes from their structs; the other schemas are written by hand and checked by the tests.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from prometheus_client.metrics import MetricWrapperBase

from docs.asyncapi import asyncapi
from streams.cli.main import main as cli
from streams.contracts import SCHEMAS, load_schema
from streams.contracts.headers import ERROR_CODE
from streams.kafka.topics import load_topics
from streams.pipeline.control_messages import ControlMessage
from streams.pipeline.reasons import DEAD_LETTERS, REASONS, REFUSALS
from streams.settings import settings_markdown
from streams.worker.metrics import Metrics

COMMAND: Final = "make docs"

_ROOT: Final = Path(__file__).parents[1]
_HELP_WIDTH: Final = 100


def generate() -> dict[Path, str]:
    """Every generated file, by its path in the repository."""
    return {
        Path("streams/contracts/schemas/control.v1.json"): _json(control_schema()),
        Path("docs/asyncapi.json"): _json(asyncapi()),
        Path("docs/reference.md"): reference_markdown(),
    }


def control_schema() -> dict[str, Any]:
    """The JSON Schema of control messages, from their structs."""
    schema = msgspec.json.schema(ControlMessage)
    for message in schema["$defs"].values():
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


def reference_markdown() -> str:
    """docs/reference.md."""
    sections = {
        "Settings": _settings(),
        "Commands": "\n\n".join(_command_help(cli, click.Context(cli, info_name="secondlook", **cli.context_settings))),
        "Topics": _topics(),
        "Data contracts": _contracts(),
        "Reason codes": _table(("code", "what it means"), ((f"`{code}`", text) for code, text in REASONS.items())),
        "Dead-letter codes": f"The header `{ERROR_CODE}` of a dead letter.\n\n"
        + _table(("code", "what it means"), ((f"`{code}`", text) for code, text in DEAD_LETTERS.items())),
        "Why a control message is refused": _table(
            ("code", "what it means"), ((f"`{code}`", text) for code, text in REFUSALS.items())
        ),
        "Metrics": _metrics(),
    }
    head = f"# Reference\n\nWritten by `{COMMAND}` from the code; do not edit.\n"
    return head + "".join(f"\n## {title}\n\n{body}\n" for title, body in sections.items())


def _settings() -> str:
    return (
        "From environment variables, a TOML file (`--config`) and flags, the later ones winning. Kafka client options pass "
        "through to librdkafka: `-X NAME=VALUE`, a `[kafka]` table in the file, or `SECONDLOOK_KAFKA_` and the option's name "
        "in capitals with `_` for `.`. Where that name ends in `_FILE` the value is read from the file it names.\n\n"
    ) + settings_markdown()


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
    return head + _table(("topic", "partitions", "cleanup", "kept for", "purpose"), rows)


def _retention(config: Mapping[str, str]) -> str:
    if "delete" not in config["cleanup.policy"]:
        return "the last of each key"
    milliseconds = int(config["retention.ms"])
    return "ever" if milliseconds < 0 else f"{milliseconds / 86_400_000:g} days"


def _metrics() -> str:
    rows = []
    metrics = Metrics()
    for metric in (*vars(metrics).values(), *vars(metrics.controls).values()):
        if not isinstance(metric, MetricWrapperBase):
            continue
        (about,) = metric.describe()
        name = about.name + ("_total" if about.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 - no public way to a metric's labels
        rows.append((f"`{name}`", about.type, labels, about.documentation))
    return _table(("metric", "type", "labels", "what it counts"), rows)


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
        variants = schema["$defs"].values() if name == "control" else [schema]
        for variant in variants:
            if variant is not schema:
                parts.append(f"\n`{variant['properties']['type']['enum'][0]}`: {variant['description']}\n")
            parts.append("\n" + _table(("field", "type", "required", "what it is"), _fields(variant)) + "\n")
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


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
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
