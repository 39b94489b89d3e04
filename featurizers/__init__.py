"""LLM Performance Predictors from already generated output: bytes in, float32 arrays out."""

from featurizers.errors import ResponseError, SecondlookError, SpecError
from featurizers.explain import ExplainedToken, Explanation, explain
from featurizers.presets import PRESETS
from featurizers.response import PROVIDERS, Response, decode
from featurizers.schema import SCHEMA, Feature, FeatureSchema
from featurizers.spec import OutcomeSpec
from featurizers.spec_files import load_spec
from featurizers.vectors import Vectors, featurize

__all__ = [
    "PRESETS",
    "PROVIDERS",
    "SCHEMA",
    "ExplainedToken",
    "Explanation",
    "Feature",
    "FeatureSchema",
    "OutcomeSpec",
    "Response",
    "ResponseError",
    "SecondlookError",
    "SpecError",
    "Vectors",
    "decode",
    "explain",
    "featurize",
    "load_spec",
]
