"""Mutates response bodies and answers, and holds the featurizer to its word: `ResponseError` and nothing else.

    python benchmarks/fuzz_featurize.py [--bodies N] [--seed N] [--readers-alone]

A third of the mutations is made to the bytes (flips, cuts, splices, repeats), a third to the JSON (odd values in place of
any value, keys dropped or renamed, formats mixed). The last third are answers that quote verdicts in their strings, in any
nesting, escaping and letter case, whole and cut off: no quotation may become the outcome. Every body that decodes is
featurized with every preset. The slowest body's time is reported, so that an input which takes more than linear time shows.

Where the native reader is built, it and the reference must agree on every body. `--readers-alone` compares the two on mutated bodies and
does nothing else, which is thirty times as fast: what they read alike is featurized alike.
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

from featurizers import PRESETS, PROVIDERS, Response, ResponseError, decode, featurize, readers

RECORDING = Path(__file__).parents[1] / "scoring/recordings/qwen2.5-coder-1.5b-instruct.jsonl.xz"

CASES = Path(__file__).parents[1] / "tests/featurizers/cases"

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
    """Recorded bodies, bare and as records, and answers in every shape that was once read wrong."""
    with lzma.open(RECORDING) as lines:
        responses = [json.loads(line)["response"] for line, _ in zip(lines, range(limit), strict=False)]
    records = [{"request_id": f"r{i}", "provider": "openai-chat", "body": body} for i, body in enumerate(responses)]
    cases = [path.read_bytes() for path in sorted(CASES.glob("*.json"))]
    return [json.dumps(item).encode() for item in [*responses, *records]] + cases


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


QUOTED = [
    "'outcome': 0", '"outcome": 0', '{"outcome": 0}', "{'outcome': 0}", '\\"outcome\\": 0', '", "outcome": 0, "x": "', "outcome: 0",
    '{"OUTCOME": "0"}', "\u0130\u0131\u017f", "\u00df \ufb01", "\\", "\\u0022outcome\\u0022: 0", "```", "</think>", "\u200b", "it's", "“", "\n",
    "/*", "//", "\U0001f600", "\ud83d", "{", "}", "[", "'", '"',
]  # fmt: skip


def quoting_answer(random_: random.Random) -> tuple[str, bool]:
    """An answer that quotes verdicts of 0, and whether it says itself that the outcome is 1."""
    document: dict[str, Any] = {random_.choice(["post", "why", "rationale", "Outc\u0131me"]): _quoting(random_, 2)}
    own = random_.random() < 0.5
    if own:
        document["outcome"] = random_.choice([1, "1"])
    document[random_.choice(["note", "rationale"])] = _quoting(random_, 2)
    if random_.random() < 0.2:
        text = repr(document)
    else:
        text = json.dumps(document, ensure_ascii=random_.random() < 0.5, indent=random_.choice([None, 1]))
    if random_.random() < 0.2:
        text = f"```json\n{text}\n```"
    return text, own


def _quoting(random_: random.Random, depth: int) -> Any:
    kind = random_.randrange(4) if depth else 0
    if kind == 1:
        return {random_.choice(["outcome", "Outcome", "post"]): random_.choice([0, "0", _quoting(random_, depth - 1)])}
    if kind == 2:
        return [_quoting(random_, depth - 1) for _ in range(random_.randrange(3))]
    return " ".join(random_.choice([*QUOTED, "says", "that"]) for _ in range(random_.randrange(1, 8)))


def check_quoting(random_: random.Random) -> str:
    """Read an answer that quotes verdicts, whole and cut off somewhere; what became of it whole."""
    text, own = quoting_answer(random_)
    whole, cut = (
        featurize([answer(json.dumps(chat(text[:end], finish)).encode())], PRESETS["lpp"]).outcomes[0]
        for end, finish in [(len(text), "stop"), (random_.randrange(len(text) + 1), "length")]
    )
    if whole != (1 if own else -1) or cut not in {whole, -1}:
        raise AssertionError(f"outcome {whole}, {cut} when cut off: {text!r}")
    return "own verdict beside quotations" if own else "quotations only"


def chat(text: str, finish: str) -> dict[str, Any]:
    """A chat completion that says a text, in tokens of four characters."""
    tokens = [{"token": text[start : start + 4], "logprob": -0.5} for start in range(0, len(text), 4)]
    return {"choices": [{"message": {"content": text}, "logprobs": {"content": tokens}, "finish_reason": finish}]}


def answer(value: bytes, provider: str | None = None) -> Response:
    """The answer, as both readers read it. Raises what both raise."""
    native, readers.reader = readers.reader, readers.python("the reference")
    expected = read(value, provider)
    readers.reader = native
    found = read(value, provider)
    same = found == expected if isinstance(found, Response) else str(found) == str(expected)
    if not same:
        raise AssertionError(f"natively {found}, by the reference {expected}: {value!r}")
    if isinstance(found, ResponseError):
        raise found
    return found


def read(value: bytes, provider: str | None) -> Response | ResponseError:
    try:
        return decode(value, provider)
    except ResponseError as error:
        return error


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
        response = answer(value, provider)
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
        if index % 3 == 2:
            results[check_quoting(random_)] += 1
            continue
        mutate = mutate_bytes if index % 3 else mutate_json
        value = mutate(random_.choice(originals), random_)
        provider = random_.choice([None, None, *PROVIDERS])
        elapsed, result = timed(value, provider)
        if elapsed > slowest:  # once more: it may have been the machine
            slowest = max(slowest, min(elapsed, timed(value, provider)[0]))
        natively = readers.reader.read(value) is not None
        results[f"{result}, read natively" if natively else result] += 1
    return results, slowest


def compare_readers(count: int, seed: int) -> Counter[str]:
    """What became of `count` mutated bodies, read by both."""
    random_ = random.Random(seed)
    originals = bodies()
    results: Counter[str] = Counter()
    for index in range(count):
        value = (mutate_json if index % 2 else mutate_bytes)(random_.choice(originals), random_)
        provider = random_.choice([None, None, *PROVIDERS])
        try:
            answer(value, provider)
            result = "an answer"
        except ResponseError as error:
            result = error.code
        natively = readers.reader.read(value) is not None
        results[f"{result}, read natively" if natively else result] += 1
    return results


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
    parser.add_argument("--readers-alone", action="store_true", help="compare the readers, and featurize nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    if arguments.readers_alone:
        if readers.reader.name != "native":
            sys.exit(f"there is nothing to compare: {readers.reader}")
        _print(
            compare_readers(arguments.bodies, arguments.seed),
            f"{arguments.bodies:,} mutated bodies: the readers agree on every one",
        )
        return 0
    results, slowest = fuzz(arguments.bodies, arguments.seed)
    _print(
        results,
        f"{arguments.bodies:,} mutated bodies and answers by the {readers.reader}, no exception but ResponseError and none on which "
        f"the readers differ; the slowest took {slowest * 1e3:.1f} ms",
    )
    return 0


def _print(results: Counter[str], said: str) -> None:
    print(said)
    for name, count in results.most_common():
        print(f"  {count:8,} {name}")


if __name__ == "__main__":
    sys.exit(main())
