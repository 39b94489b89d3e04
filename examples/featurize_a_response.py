"""What one saved response says about its own verdict, cell by cell, as in a notebook. Needs no model and no broker."""

# %% A response as an OpenAI-compatible server returns it, log-probabilities included
from pathlib import Path

from featurizers import PRESETS, SCHEMA, decode, explain, featurize

saved = (Path(__file__).parent / "response.json").read_bytes()
spec = PRESETS["lpp"]  # how the prompt asked for the verdict: {"outcome": 0..3, "confidence": 0..100}

# %% The predictors: one row a response, NaN where one cannot be known
vectors = featurize([decode(saved)], spec)
print(f"outcome {vectors.outcomes[0]} of {vectors.llms[0]}, {vectors.values.shape[1]} predictors")
for name in ("outcome_max_softmax", "outcome_entropy", "stated_confidence", "sequence_logprob_mean"):
    print(f"  {name:24}{vectors.values[0, SCHEMA.names.index(name)]:8.3f}")

# %% Which token decided, what else it might have been, and why predictors are missing
explained = explain(saved, spec)
for token in explained.tokens:
    if token.part == "outcome":
        print(f"decided by {token.text!r}; alternatives {token.alternatives}")
for why in sorted(set(explained.missing.values())):
    print(f"missing: {why}")
