"""Which reader runs: the native one before the one in Python, where it is built, or the one in Python alone.

The native reader (`featurizers/native`, in Rust) reads the common shape of an answer and leaves everything else to the one in
Python, which is the reference: what an oddity means stands there and nowhere else.
"""

import os
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

SWITCH: Final = "SECONDLOOK_NATIVE"
"""The environment variable that switches the native reader off."""

_OFF: Final = "off"
_INTERFACE: Final = 2
"""What `INTERFACE` says in the native reader that this version can use."""

Columns = tuple[str | None, str | None, str, str | None, bytes, bytes, bytes, bytes, bytes, bytes]
"""What the native reader makes of an answer: request id, model, text, finish reason; sizes, log-probabilities, counts,
alternatives' log-probabilities, joined strings and the sizes of these as in `Tokens`."""


class Reader(NamedTuple):
    """The reader that runs, `name` "native" or "python", and why it is not the native one.

    `read` gives an answer's columns, None where the reference must read; `read_each` those of many, without the GIL.
    """

    name: str
    why: str | None
    read: Callable[[bytes], Columns | None]
    read_each: Callable[[Sequence[bytes]], list[Columns | None]]

    def __str__(self) -> str:
        return f"{self.name} reader" + (f" ({self.why})" if self.why else "")


def python(why: str) -> Reader:
    """The reference alone."""
    return Reader("python", why, lambda _: None, lambda values: [None] * len(values))


def load(switch: str) -> Reader:
    """The native reader, unless it is switched off, not built, or of another version."""
    if switch == _OFF:
        return python(f"{SWITCH} is {_OFF}")
    try:
        import secondlook_native as native
    except ImportError:
        return python("the native one is not built")
    if native.INTERFACE != _INTERFACE:
        return python(f"the native one is of another version: {native.INTERFACE}, not {_INTERFACE}; build it anew")
    return Reader("native", None, native.read, native.read_each)


reader = load(os.environ.get(SWITCH, ""))
"""The one that runs in this process."""
