"""Score a batch of recorded answers with a trained model, and act on those below the threshold that the costs ask for.

Run as `python examples/score_a_batch.py MODELS`, the directory that `secondlook train --out MODELS` wrote.
"""

import sys
from pathlib import Path

import numpy as np

from featurizers import PRESETS, decode, featurize
from scoring import RECORDING, cost_threshold, is_held_out, load_model, read_recording


def main(models: Path) -> None:
    """Print how much would be automated, and how often the LLM was wrong there and elsewhere."""
    items = [item for item in read_recording(RECORDING) if is_held_out(item.request_id)]
    vectors = featurize([decode(bytes(item.response)) for item in items], PRESETS["lpp"])

    model = load_model(models)
    scores = model.score(vectors.values, [item.policy for item in items], [item.language for item in items])

    # What may be automated: a verdict (outcome 0 or 1), of a kind that the model was tested on, and a low enough risk.
    threshold = cost_threshold("false-discovery", review=0.64, mistake=1.0)
    verdict = np.isin(vectors.outcomes, (0, 1))
    automated = verdict & scores.supported & (scores.error_probability < threshold)

    wrong = vectors.outcomes != np.array([item.label for item in items])
    print(f"{model.name}: {automated.sum()} of {len(items)} automated at threshold {threshold:.2f}")
    print(f"  wrong among the automated: {wrong[automated].mean():.1%}")
    print(f"  wrong among the verdicts that go to humans: {wrong[verdict & ~automated].mean():.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
