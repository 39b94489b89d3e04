"""LLM Performance Predictors from already generated output: bytes in, float32 arrays out."""

from featurizers.book import SpecBook, load_specs
from featurizers.errors import ResponseError, SecondlookError, SpecError
from featurizers.explain import ExplainedToken, Explanation, explain, fitting
from featurizers.presets import PRESETS
from featurizers.response import PROVIDERS, Response, decode, decode_ahead
from featurizers.schema import SCHEMA, Feature, FeatureSchema
from featurizers.spec import OutcomeSpec
from featurizers.spec_files import load_spec
from featurizers.vectors import Vectors, featurize, featurize_each

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
    "SpecBook",
    "SpecError",
    "Vectors",
    "decode",
    "decode_ahead",
    "explain",
    "featurize",
    "featurize_each",
    "fitting",
    "load_spec",
    "load_specs",
]
