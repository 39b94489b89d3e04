"""Nothing that runs here reports to anybody."""

import os
import subprocess
import sys
from pathlib import Path

SCORES = """
import sys, time
from pathlib import Path
import numpy as np
from scoring import load_model
from featurizers import SCHEMA
model = load_model(Path(sys.argv[1]))
model.score(np.zeros((1, len(SCHEMA.names)), np.float32), ["hate"])
time.sleep(0.5)
"""


def test_onnxruntime_keeps_no_device_id_and_no_events(models: Path, tmp_path: Path) -> None:
    """Its telemetry would store both in the user's home, to send them."""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", SCORES, str(models)], env=environment, check=True, timeout=60)
    assert [] == list(tmp_path.iterdir())
