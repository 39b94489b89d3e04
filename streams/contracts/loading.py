"""The JSON Schemas that ship with the package."""

import json
from importlib import resources
from typing import Any, Final

SCHEMAS: Final = ("request", "response", "vector", "decision", "human-decision", "control", "control-status")
"""The contracts that have one, by name without version."""


def load_schema(name: str) -> dict[str, Any]:
    """A contract's JSON Schema, by its name without version."""
    text = resources.files("streams.contracts").joinpath("schemas", f"{name}.v1.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
