"""The stress test: a closed loop against a real cluster, with kills, rebalances and poison, and books that must balance."""

from streams.trials.stress.plan import Shares
from streams.trials.stress.report import Limits, breaches, closing_tables, figures
from streams.trials.stress.run import Options, run_stress

__all__ = ["Limits", "Options", "Shares", "breaches", "closing_tables", "figures", "run_stress"]
