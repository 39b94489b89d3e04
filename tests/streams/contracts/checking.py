"""A record's value held against its schema."""

import json
from functools import cache
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from streams.contracts import SCHEMAS, load_schema

NAMES_ALMOST = st.one_of(st.sampled_from(["a", "*", "", "é" * 255, "x" * 255, "x" * 256]), st.none(), st.just(7))


@cache
def validator(name: str) -> Draft202012Validator:
    resources = [Resource.from_contents(load_schema(contract)) for contract in SCHEMAS]
    registry = Registry().with_resources([(resource.id(), resource) for resource in resources])
    return Draft202012Validator(load_schema(name), registry=registry)


def check(name: str, value: bytes | None) -> Any:
    """The JSON in a record's value, once it has passed its schema."""
    document = json.loads(value or b"")
    assert [] == [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(document)]
    return document


def is_valid(name: str, document: Any) -> bool:
    return bool(validator(name).is_valid(document))
