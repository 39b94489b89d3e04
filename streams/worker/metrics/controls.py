"""Told of what is in force: controls, thresholds, models, review budgets."""

from streams.pipeline.budget import STATES, UNMET
from streams.pipeline.controls import Controls
from streams.pipeline.scope import Scope
from streams.worker.metrics.told import Told
from streams.worker.state import Values


def _named(controls: Controls | None) -> Values:
    """The model of some controls, where they have one."""
    return {} if controls is None or controls.model is None else {(controls.model.name, controls.model.sha256): 1}


CONTROLS = (
    Told(
        "secondlook_control_version",
        "Version of the controls: offset + 1 of the last message applied.",
        lambda it: it.controls.version,
    ),
    Told(
        "secondlook_controls_info",
        "1; its labels are hashes of what the control log says, and of the model and costs in the worker's settings. Workers of a "
        "group differ in them only while they read a new message.",
        lambda it: {(it.controls_hash, it.settings_hash): 1},
        ("hash", "settings_hash"),
    ),
    Told(
        "secondlook_controls_honoured",
        "0: what is in force cannot be honoured, everything goes to humans.",
        lambda it: it.controls.problem is None,
    ),
    Told(
        "secondlook_automation_stopped",
        "1: a control message has stopped automation (* = of all).",
        lambda it: {tuple(scope): 1 for scope in it.controls.stopped},
        Scope._fields,
    ),
    Told(
        "secondlook_control_last_read_age_seconds",
        "Seconds since the control topic was last known to be read to its end.",
        lambda it: it.controls_age,
    ),
    Told(
        "secondlook_threshold",
        "Threshold in force; of all that a decision lies in, the most specific counts (* = every).",
        lambda it: {tuple(scope): threshold for scope, threshold in it.controls.thresholds.items()},
        Scope._fields,
    ),
    Told("secondlook_model_info", "The model in force.", lambda it: _named(it.controls), ("name", "sha256")),
    Told("secondlook_shadow_info", "1: the shadow's model.", lambda it: _named(it.controls.shadow), ("name", "sha256")),
    Told(
        "secondlook_shadow_honoured",
        "0: a shadow is set that this worker leaves out, as it cannot honour it; what is in force is not touched by that.",
        lambda it: it.controls.shadow_problem is None,
    ),
    Told(
        "secondlook_review_budget",
        "Share of the decisions that is to go to humans, where a review budget is set.",
        lambda it: {tuple(scope): found.wanted for scope, found in it.budgets.items()},
        Scope._fields,
    ),
    Told(
        "secondlook_review_share",
        "Share of this worker's decisions that did go to humans lately, where a review budget is set.",
        lambda it: {tuple(scope): found.measured for scope, found in it.budgets.items() if found.measured is not None},
        Scope._fields,
    ),
    Told(
        "secondlook_review_budget_state",
        "1: how a review budget stands, by this worker's decisions: " + ", ".join(STATES) + ".",
        lambda it: {(*scope, found.state): 1 for scope, found in it.budgets.items()},
        (*Scope._fields, "state"),
    ),
    Told(
        "secondlook_review_budget_unmet",
        "1: a review budget cannot be met, or not moved (" + ", ".join(sorted(UNMET)) + ").",
        lambda it: {tuple(scope): found.state in UNMET for scope, found in it.budgets.items()},
        Scope._fields,
    ),
    Told(
        "secondlook_control_messages_refused_total",
        "Control messages refused since the start, by reason.",
        lambda it: {(reason,): count for reason, count in it.refused.items()},
        ("reason",),
    ),
)
