"""The shipped recording: real answers of a real server."""

import importlib.util
import json
import lzma
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from featurizers import PRESETS, SCHEMA, decode, featurize

pytestmark = pytest.mark.usefixtures("each_reader")

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "scoring/recordings/qwen2.5-coder-1.5b-instruct.jsonl.xz"


@pytest.fixture(scope="module")
def bodies() -> list[bytes]:
    with lzma.open(RECORDING) as lines:
        return [json.dumps(json.loads(line)["response"]).encode() for line in lines]


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain", ROOT / "benchmarks/plain.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_same_numbers_as_plain_python(bodies: list[bytes], plain: ModuleType) -> None:
    """Every predictor of every recorded answer is what plain Python makes of its definition."""
    expected = np.array([plain.predictors(json.loads(body)) for body in bodies])
    actual = featurize([decode(body) for body in bodies], PRESETS["lpp"]).values
    assert np.allclose(expected, actual, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_every_outcome_is_found(bodies: list[bytes]) -> None:
    """Every recorded answer, cut off or not, has the outcome that its text states, and its tokens carry it."""
    responses = [decode(body) for body in bodies]
    vectors = featurize(responses, PRESETS["lpp"])
    stated = [int(response.text.split('"outcome": ')[1][0]) for response in responses]
    assert Counter(stated) == Counter(vectors.outcomes.tolist())
    assert stated == vectors.outcomes.tolist()
    assert not np.isnan(vectors.values[:, SCHEMA.names.index("outcome_coverage")]).any()


def test_same_vector_inside_a_record(bodies: list[bytes]) -> None:
    """A body has the same vector bare and inside a response record."""
    records = [b'{"request_id": "r", "provider": "openai-chat", "body": ' + body + b"}" for body in bodies[:50]]
    bare = featurize([decode(body) for body in bodies[:50]], PRESETS["lpp"])
    wrapped = featurize([decode(record) for record in records], PRESETS["lpp"])
    assert np.array_equal(bare.values, wrapped.values, equal_nan=True)
    assert bare.llms == wrapped.llms
