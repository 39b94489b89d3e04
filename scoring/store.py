"""The model directory: `DIR/<sha256>/model.onnx` and `card.json`, and `DIR/current` naming the one that workers start with."""

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any


def write_model(directory: Path, onnx: bytes, card: dict[str, Any]) -> Path:
    """Add a model and point `current` at it. Returns its directory."""
    home = add_model(directory, onnx, card)
    promote(directory, home.name)
    return home


def promote(directory: Path, sha256: str) -> None:
    """Point `current` at a model that is there."""
    _replace(directory / "current", sha256.encode() + b"\n")


def current_model(directory: Path) -> str | None:
    """The sha256 that `current` names; None where there is none."""
    try:
        return (directory / "current").read_text().strip()
    except FileNotFoundError:
        return None


def add_model(directory: Path, onnx: bytes, card: dict[str, Any]) -> Path:
    """Write a model under the sha256 of its bytes; `current` stays. Returns its directory.

    Readers never see half a file: each is written beside its place and moved there, the model last. The same model again
    is the same bytes in the same place.
    """
    sha256 = hashlib.sha256(onnx).hexdigest()
    home = directory / sha256
    home.mkdir(parents=True, exist_ok=True)
    _replace(home / "card.json", json.dumps({**card, "sha256": sha256}, indent=2, sort_keys=True).encode() + b"\n")
    _replace(home / "model.onnx", onnx)
    return home


def stored_models(directory: Path) -> list[str]:
    """The sha256 of each model that a model directory holds, the newest first. Raises OSError."""
    files = [(path.stat().st_mtime, path.parent.name) for path in directory.glob("[0-9a-f]*/model.onnx")]
    return [name for _, name in sorted(files, reverse=True) if re.fullmatch("[0-9a-f]{64}", name)]


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # a machine that goes down must not leave a name without its bytes
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)
