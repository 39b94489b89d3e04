"""From response bytes to predictors: answers per second, beside plain Python and beside decoding alone.

    python benchmarks/featurize.py [--rounds N] [--batch N] [--quick] [--json PATH]

Contenders, interleaved in one run over the shipped recording, medians over the rounds; each works through the recording in
batches and keeps a batch's results until its end, as the stream does:

- `json`, `orjson`: the library's decode and the predictors in plain Python loops (`plain.py`);
- `full`: msgspec decodes every documented field of the body into structs, and nothing else;
- `floor`: msgspec decodes no more fields than the predictors need, and nothing else: the least that any way through
  msgspec costs;
- `secondlook`: `decode` and `featurize`, all predictors; `decode` is told the outcome spec;
- `unhinted`: the same, but `decode` is not told, and keeps the strings of all alternatives;
- `reference`: `secondlook` without the native reader; `secondlook` itself has it where it is built.

What was tried and measured on the way (microseconds an answer, one machine; only the ratios carry over):

- Keeping the decoded objects until `featurize` walks them: decoding 21 when each answer is dropped at once, 37 when a batch
  is kept, and the walk 10 instead of 5: the objects have left the caches. So `decode` packs an answer's numbers and strings
  into a few flat objects and drops the rest.
- Alternatives as `msgspec.Raw`, decoded later: 11 for the first pass and 16 for the second, against 21 for one.
- Structs of the log-probability alone: 18 instead of 21, but then the label's alternatives need a second pass of 11.
- `array("d", list)` 1.8, `numpy.array(list)` 3.3, `numpy.fromiter` 2.7 for 150 numbers.
- One `reduceat` over all parts of the answers and all statistics at once: a third of the calls, half of the time.

Before timing, the plain predictors and ours are compared on every answer; a difference above 1e-5 ends the run.
"""

import argparse
import gc
import json
import lzma
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
from plain import predictors

from featurizers import PRESETS, SCHEMA, decode, featurize, readers
from featurizers.wire import Record

RECORDING = Path(__file__).parents[1] / "scoring/recordings/qwen2.5-coder-1.5b-instruct.jsonl.xz"
SPEC = PRESETS["lpp"]
PYTHON = readers.python("the reference")
Batch = Sequence[bytes]


class Alternative(msgspec.Struct, gc=False):
    """An alternative, every field."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class Token(Alternative, gc=False):
    """A token, every field."""

    top_logprobs: list[Alternative] | None = None


class Logprobs(msgspec.Struct, gc=False):
    """The log-probabilities of content and refusal."""

    content: list[Token] | None = None
    refusal: list[Token] | None = None


class Message(msgspec.Struct, gc=False):
    """The answer."""

    role: str
    content: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct, gc=False):
    """A choice."""

    index: int
    message: Message
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Completion(msgspec.Struct, gc=False):
    """Every field of an OpenAI chat completion that the recording's server sends."""

    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: dict[str, Any] | None = None


def plain(loads: Callable[[bytes], Any]) -> Callable[[Batch], Any]:
    """The plain predictors behind a JSON library."""
    return lambda batch: np.array([predictors(loads(value)) for value in batch], dtype=np.float32)


def decoding(type_: type) -> Callable[[Batch], Any]:
    """Decoding into a type, and no more."""
    decoder = msgspec.json.Decoder(type_)
    return lambda batch: [decoder.decode(value) for value in batch]


def ours(batch: Batch) -> Any:
    """Decode and featurize, the spec known from the start."""
    return featurize([decode(value, spec=SPEC) for value in batch], SPEC).values


def unhinted(batch: Batch) -> Any:
    """Decode for any spec, then featurize."""
    return featurize([decode(value) for value in batch], SPEC).values


def reference(batch: Batch) -> Any:
    """As `ours`, read in Python."""
    chosen, readers.reader = readers.reader, PYTHON
    values = ours(batch)
    readers.reader = chosen
    return values


CONTENDERS: dict[str, Callable[[Batch], Any]] = {
    "json": plain(json.loads),
    "orjson": plain(orjson.loads),
    "full": decoding(Completion),
    "floor": decoding(Record),
    "secondlook": ours,
    "unhinted": unhinted,
    "reference": reference,
}


def read_bodies(path: Path) -> list[bytes]:
    """The recorded bodies, as compact JSON."""
    with lzma.open(path) as lines:
        return [orjson.dumps(orjson.loads(line)["response"]) for line in lines]


def batches(bodies: Batch, size: int) -> list[Batch]:
    """The bodies in batches."""
    return [bodies[i : i + size] for i in range(0, len(bodies), size)]


def largest_difference(bodies: Batch) -> float:
    """Between the plain predictors and ours; infinite if one is missing where the other is not."""
    expected, actual = plain(orjson.loads)(bodies), ours(bodies)
    if not np.array_equal(np.isnan(expected), np.isnan(actual)):
        return float("inf")
    return float(np.nanmax(np.abs(expected - actual) / np.maximum(1.0, np.abs(expected))))


def seconds(contender: Callable[[Batch], Any], work: Sequence[Batch]) -> float:
    """How long a contender takes for all batches."""
    gc.collect()
    start = time.perf_counter()
    for batch in work:
        contender(batch)
    return time.perf_counter() - start


def measure(bodies: Batch, rounds: int, batch: int) -> dict[str, Any]:
    """All contenders in interleaved rounds; medians and their ratios."""
    work = batches(bodies, batch)
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, contender in CONTENDERS.items():
            times[name].append(seconds(contender, work))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "answers": len(bodies),
        "bytes_per_answer": round(sum(map(len, bodies)) / len(bodies)),
        "predictors": len(SCHEMA.names),
        "rounds": rounds,
        "batch": batch,
        "python": platform.python_version(),
        "reader": str(readers.reader),
        "microseconds_per_answer": {name: value / len(bodies) * 1e6 for name, value in medians.items()},
        "answers_per_second": {name: len(bodies) / value for name, value in medians.items()},
        "time_over_floor": medians["secondlook"] / medians["floor"],
        "time_over_full_decode": medians["secondlook"] / medians["full"],
        "speedup_over_reference": medians["reference"] / medians["secondlook"],
        "speedup_over_json": medians["json"] / medians["secondlook"],
        "speedup_over_orjson": medians["orjson"] / medians["secondlook"],
    }


def report(figures: dict[str, Any]) -> None:
    """Print the figures."""
    print(
        f"{figures['answers']} answers of {figures['bytes_per_answer']} bytes, {figures['predictors']} predictors each"
    )
    for name, rate in figures["answers_per_second"].items():
        print(f"  {name:<11}{figures['microseconds_per_answer'][name]:8.1f} us/answer {rate:10,.0f} answers/s")
    print(f"secondlook takes {figures['time_over_floor']:.2f} x the floor's time")
    print(f"and {figures['time_over_full_decode']:.2f} x the full decode's")
    print(
        f"and is, with the {figures['reader']}, {figures['speedup_over_reference']:.1f} x as fast as the one in Python"
    )
    print(f"and {figures['speedup_over_json']:.1f} x as fast as json + plain Python")
    print(f"and {figures['speedup_over_orjson']:.1f} x as fast as orjson + plain Python")


def main() -> int:
    """Compare, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=256, help="answers decoded and featurized together")
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to a file as well")
    arguments = parser.parse_args()
    bodies = read_bodies(RECORDING)
    difference = largest_difference(bodies)
    if not difference < 1e-5:
        print(f"the plain predictors and ours differ by {difference}", file=sys.stderr)
        return 1
    figures = measure(bodies, 3 if arguments.quick else arguments.rounds, arguments.batch)
    report(figures | {"largest_difference": difference})
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
