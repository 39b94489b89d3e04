"""The model directory: `DIR/<sha256>/model.onnx` and `card.json`, and `DIR/current` naming the last one written."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_model(directory: Path, onnx: bytes, card: dict[str, Any]) -> Path:
    """Write a model under the sha256 of its bytes and point `current` at it. Returns its directory.

    Readers never see half a file: each is written beside its place and moved there. The same model again
    is the same bytes in the same place.
    """
    sha256 = hashlib.sha256(onnx).hexdigest()
    home = directory / sha256
    home.mkdir(parents=True, exist_ok=True)
    _replace(home / "card.json", json.dumps({**card, "sha256": sha256}, indent=2, sort_keys=True).encode() + b"\n")
    _replace(home / "model.onnx", onnx)
    _replace(directory / "current", sha256.encode() + b"\n")
    return home


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)
