"""What a model and every baseline are worth on answers that no training has seen, and the report that says so.

Needs the `train` extra; no worker imports it.
"""

from scoring.evaluation.evaluator import evaluate
from scoring.evaluation.report import html_report
from scoring.evaluation.risk_bound import CertifiedThreshold, clopper_pearson, risk_bound_threshold, smallest_risk
from scoring.evaluation.rivals import rivals
from scoring.evaluation.words import comparison

__all__ = [
    "CertifiedThreshold",
    "clopper_pearson",
    "comparison",
    "evaluate",
    "html_report",
    "risk_bound_threshold",
    "rivals",
    "smallest_risk",
]
