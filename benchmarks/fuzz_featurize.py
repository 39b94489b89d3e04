"""Mutates recorded response bodies and holds the featurizer to its word: `ResponseError` and nothing else.

    python benchmarks/fuzz_featurize.py [--bodies N] [--seed N]

Half of the mutations are made to the bytes (flips, cuts, splices, repeats), half to the JSON (odd values in place of any
value, keys dropped or renamed, formats mixed). Every body that decodes is featurized with every preset. The slowest body's
time is reported, so that an input which takes more than linear time shows.
"""

import argparse
import copy
import json
import lzma
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from featurizers import PRESETS, PROVIDERS, ResponseError, decode, featurize

RECORDING = Path(__file__).parents[1] / "scoring/recordings/qwen2.5-coder-1.5b-instruct.jsonl.xz"

ODD_VALUES: list[Any] = [
    None, True, 0, -1, 2**63, 10**400, 0.5, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), -9999.0, 5e-324,
    "", "1", "-0.5", "-inf", "\x00", "\ud800", "\ufffd", "\U0001f600", '{"outcome": 1}', "\\" * 50, '"outcome":' * 20,
    [], [[]], [None], [256, -1, 0.5], {}, {"token": 1}, {"logprob": "x"}, [{}], "a" * 3000, [0] * 300,
]  # fmt: skip
INSERTIONS = [
    b"",
    b"\x00",
    b"\xff",
    b"\xc3",
    b'"',
    b"{",
    b"}",
    b"[" * 2000,
    b"\\ud800",
    b"NaN",
    b"1e999",
    b"-",
    b",",
    b"9" * 5000,
]
KEYS = [
    "choices",
    "output",
    "candidates",
    "content",
    "body",
    "message",
    "logprobs",
    "tokens",
    "text",
    "provider",
    "request_id",
]


def bodies(limit: int = 40) -> list[bytes]:
    """Recorded bodies, bare and as records."""
    with lzma.open(RECORDING) as lines:
        responses = [json.loads(line)["response"] for line, _ in zip(lines, range(limit), strict=False)]
    records = [{"request_id": f"r{i}", "provider": "openai-chat", "body": body} for i, body in enumerate(responses)]
    return [json.dumps(item).encode() for item in [*responses, *records]]


def mutate_bytes(value: bytes, random_: random.Random) -> bytes:
    """Up to four changes of bytes."""
    changed = bytearray(value)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(changed) + 1)
        kind = random_.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random_.randrange(8)
        elif kind == 1:
            del changed[at : at + random_.randrange(1, 200)]
        elif kind == 2:
            changed[at:at] = random_.choice(INSERTIONS)
        elif kind == 3:
            start = random_.randrange(len(changed) + 1)
            changed[at:at] = changed[start : start + random_.randrange(1, 500)]
        else:
            del changed[at:]
    return bytes(changed)


def mutate_json(value: bytes, random_: random.Random) -> bytes:
    """Up to four changes of the document."""
    document = json.loads(value)
    for _ in range(random_.randint(1, 4)):
        places = list(containers(document))
        place = random_.choice(places[:8]) if random_.random() < 0.5 else random_.choice(places)
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        kind = random_.randrange(4)
        if isinstance(place, dict) and (kind == 0 or not keys):
            place[random_.choice(KEYS)] = copy.deepcopy(random_.choice(ODD_VALUES))
        elif keys and kind == 1:
            del place[random_.choice(keys)]
        elif keys and kind == 2 and isinstance(place, dict):
            place[random_.choice(KEYS)] = place.pop(random_.choice(keys))
        elif keys:
            place[random_.choice(keys)] = copy.deepcopy(random_.choice(ODD_VALUES))
    return json.dumps(document).encode()


def containers(document: Any) -> Iterator[Any]:
    """All objects and arrays of a document, outermost first."""
    waiting = [document]
    for item in waiting:
        yield item
        below = item.values() if isinstance(item, dict) else item
        waiting += [inner for inner in below if isinstance(inner, dict | list)]


def check(value: bytes, provider: str | None) -> str:
    """Decode and featurize as a user would; what became of the value."""
    try:
        response = decode(value, provider)
    except ResponseError as error:
        str(error).encode()
        return error.code
    (response.request_id or "").encode()
    (response.llm or "").encode()
    for spec in PRESETS.values():
        vectors = featurize([response], spec)
        if np.isinf(vectors.values).any() or (vectors.outcomes[0] < 0) != (vectors.problems[0] is not None):
            raise AssertionError(f"impossible vectors: {vectors}")
    return featurize([response], PRESETS["lpp"]).problems[0] or "outcome found"


def fuzz(count: int, seed: int) -> tuple[Counter[str], float]:
    """What became of `count` mutated bodies, and the most seconds that one took."""
    random_ = random.Random(seed)
    originals = bodies()
    results: Counter[str] = Counter()
    slowest = 0.0
    for index in range(count):
        mutate = mutate_bytes if index % 2 else mutate_json
        value = mutate(random_.choice(originals), random_)
        provider = random_.choice([None, None, *PROVIDERS])
        elapsed, result = timed(value, provider)
        if elapsed > slowest:  # once more: it may have been the machine
            slowest = max(slowest, min(elapsed, timed(value, provider)[0]))
        results[result] += 1
    return results, slowest


def timed(value: bytes, provider: str | None) -> tuple[float, str]:
    """The seconds that a check took, and its result."""
    start = time.perf_counter()
    result = check(value, provider)
    return time.perf_counter() - start, result


def main() -> int:
    """Fuzz and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    results, slowest = fuzz(arguments.bodies, arguments.seed)
    print(f"{arguments.bodies} mutated bodies, no exception but ResponseError; the slowest took {slowest * 1e3:.1f} ms")
    for name, count in results.most_common():
        print(f"  {count:8,} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
