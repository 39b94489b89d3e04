"""Whether two contenders decided the same: every field of every decision and vector, before anything is timed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from track import DECISIONS, Track

ROLES = (*DECISIONS, "vectors")
PROBABILITY = 2e-6
"""How far P(error), a confidence or a driver's push may lie apart: they are float32, rounded to 6 or 7 decimals."""
RELATIVE = 2e-6
"""How far a predictor may lie apart, of its value, beyond `PROBABILITY`: some 16 steps of a float32."""
_OWN = frozenset({"decided_at"})  # each contender's own clock

Outputs = Mapping[tuple[str, bytes], Any]


class DifferentError(Exception):
    """Two contenders did not decide the same."""


def outputs_of(track: Track) -> dict[tuple[str, bytes], Any]:
    """What is readable now, by role and key. Raises DifferentError where a key comes twice."""
    roles = {track.names[role]: role for role in ROLES}
    found: dict[tuple[str, bytes], Any] = {}
    for message in track.committed(ROLES):
        place = roles[message.topic()], message.key()
        if place in found:
            raise DifferentError(f"{place[0]} has {place[1]!r} twice")
        found[place] = orjson.loads(message.value())
    return found


def check(reference: Outputs, other: Outputs) -> int:
    """The number of records compared. Raises DifferentError that names the first field which is not the same."""
    for what, missing in (
        ("lacks", reference.keys() - other.keys()),
        ("has too much", other.keys() - reference.keys()),
    ):
        if missing:
            raise DifferentError(f"it {what}: {len(missing)} records, such as {min(missing)}")
    for place, record in reference.items():
        for path, wanted, given in differences(record, other[place]):
            raise DifferentError(f"{place[0]} of {place[1].decode()}: {path} is {given!r}, and not {wanted!r}")
    return len(reference)


def differences(wanted: Any, given: Any, path: str = "") -> Iterable[tuple[str, Any, Any]]:
    """Where two JSON values differ, by path. Fields in any order; an absent field is not a null one."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        for name in wanted.keys() | given.keys():
            if name not in wanted or name not in given:
                yield f"{path}.{name}", wanted.get(name, "absent"), given.get(name, "absent")
            elif name not in _OWN:
                yield from differences(wanted[name], given[name], f"{path}.{name}")
    elif _sequences(wanted, given) and len(wanted) == len(given):
        for index, (one, two) in enumerate(zip(wanted, given, strict=True)):
            yield from differences(one, two, f"{path}[{index}]")
    elif not (_numbers(wanted, given) and math.isclose(wanted, given, rel_tol=RELATIVE, abs_tol=PROBABILITY)) and (
        type(wanted) is not type(given) or wanted != given
    ):
        yield path, wanted, given


def _sequences(*values: Any) -> bool:
    return all(isinstance(value, Sequence) and not isinstance(value, str) for value in values)


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
