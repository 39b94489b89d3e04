# Used in `featurizers.readers` alone.
from collections.abc import Sequence
from typing import TypeAlias

INTERFACE: int

_Columns: TypeAlias = tuple[str | None, str | None, str, str | None, bytes, bytes, bytes, bytes, bytes, bytes]

def read(value: bytes, /) -> _Columns | None: ...
def read_each(values: Sequence[bytes], /) -> list[_Columns | None]: ...
