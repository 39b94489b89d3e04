"""What a model and every baseline are worth on answers that no training has seen, and the report that says so."""

from scoring.evaluation.evaluator import evaluate
from scoring.evaluation.report import html_report
from scoring.evaluation.words import comparison

__all__ = ["comparison", "evaluate", "html_report"]
