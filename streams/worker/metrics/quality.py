"""Told of live quality, by the one worker that keeps its books."""

from streams.pipeline.quality.books import RESULTS
from streams.worker.metrics.told import Told

_BY_LLM = ("policy", "llm")

QUALITY = (
    Told(
        "secondlook_live_error_rate",
        "Share of wrong verdicts among the automated, by audits alone, each weighted by its chance, since the model came into force. As "
        "all of live quality: by the one worker that keeps the books, and absent where nothing is known.",
        lambda it: it.by_llm(lambda one: one.error),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_error_rate_recent",
        "The same by the last 200 audits or more.",
        lambda it: it.by_llm(lambda one: one.recent_error),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_error_rate_low",
        "Lower end of the 90 % confidence sequence of secondlook_live_error_rate, which holds however often it is looked at.",
        lambda it: it.by_llm(lambda one: one.low),
        _BY_LLM,
    ),
    Told("secondlook_live_error_rate_high", "Its upper end.", lambda it: it.by_llm(lambda one: one.high), _BY_LLM),
    Told(
        "secondlook_live_error_estimated",
        "Mean P(error) of the automated: the share of wrong ones before any human has looked, if the model is calibrated.",
        lambda it: it.by_llm(lambda one: one.estimated),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_audits_drawn",
        "Automatic decisions that were drawn for an audit.",
        lambda it: it.by_llm(lambda one: one.drawn),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_audits_judged",
        "Audits that humans have judged.",
        lambda it: it.by_llm(lambda one: one.audits),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_overturned_share",
        "Share of the escalated verdicts that humans overturned.",
        lambda it: it.by_llm(lambda one: one.overturned / one.escalated if one.escalated else None),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_calibration_z",
        "Spiegelhalter's z: above 0 more errors than P(error) says, about standard normal at one look where it is calibrated.",
        lambda it: it.by_llm(lambda one: one.z),
        _BY_LLM,
    ),
    Told(
        "secondlook_live_drift",
        "Population stability index of the predictors farthest from training.",
        lambda it: {(one.policy, one.llm, name): psi for one in it.quality.figures for name, psi in one.drift.items()},
        (*_BY_LLM, "predictor"),
    ),
    Told(
        "secondlook_quality_alert",
        "1: something that somebody should look at: risk, calibration, drift or missing (* = every).",
        lambda it: {alert.names: 1 for alert in it.quality.alerts},
        ("kind", "policy", "tenant", "outcome", "llm", "subject"),
    ),
    Told(
        "secondlook_quality_lag_records",
        "Records that live quality has not counted yet; only from the worker that keeps its books, while it can.",
        lambda it: {} if it.quality_lag is None else it.quality_lag,
    ),
    Told(
        "secondlook_quality_kept",
        "Entries that the books hold in memory: answers that went to humans (14 bytes each), and words of humans (about 500 each).",
        lambda it: {(kind,): count for kind, count in it.quality.kept.items()},
        ("kind",),
    ),
    Told(
        "secondlook_quality_reviews_total",
        "Human decisions by what became of them in live quality: " + ", ".join(RESULTS) + ".",
        lambda it: {(result,): count for result, count in it.quality.reviews.items()},
        ("result",),
    ),
    Told(
        "secondlook_quality_records_skipped_total",
        "Records that were gone (retention) before live quality had read them.",
        lambda it: it.quality.skipped if it.quality.reviews else {},
    ),
)
