"""When each alert fires, and when it does not: input series as `promtool test rules` has them, a value a minute.

`5+0x30` is 5, thirty-one times; `0+6x30` grows by 6 a minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Series = Mapping[str, str]

PER_SOURCE = '{source="requests",instance="a"}'
SCOPE = {"job": "secondlook", "policy": "hate", "tenant": "*", "outcome": "*"}
LABELS_OF_SCOPE = 'job="secondlook",policy="hate",tenant="*",outcome="*"'
BY_LLM = {"job": "secondlook", "policy": "hate", "llm": "m"}
OF_LLM = 'job="secondlook",instance="a",policy="hate",llm="m"'


@dataclass(frozen=True)
class Case:
    """At `at` of `fires` the alert has these labels, beside its severity, and this summary; of each of `quiet` there is none."""

    fires: Series
    quiet: Sequence[Series]
    summary: str
    labels: Mapping[str, str] = field(default_factory=dict)
    at: str = "30m"


def decisions(reason: str, rate: str, route: str = "human-review") -> Series:
    return {f'secondlook_decisions_total{{route="{route}",reason="{reason}",policy="hate"}}': rate}


def counted(series: str) -> tuple[Series, Sequence[Series]]:
    """A counter that came to be at 3 a moment ago, and one that has stood there for long."""
    return {series: "_x9 3+0x2"}, [{series: "3+0x60"}]


def alerting(kind: str, labels: str) -> tuple[Series, Sequence[Series]]:
    """An alert of live quality that is raised; one of another kind, and one that is over."""
    series = f'secondlook_quality_alert{{kind="{kind}",{labels}}}'
    other = f'secondlook_quality_alert{{kind="other",{labels}}}'
    return {series: "1+0x60"}, [{other: "1+0x60"}, {series: "1+0x5"}]


AUTOMATED = decisions("below_threshold", "0+50x60", "auto-action")

CASES: dict[str, Case] = {
    "SecondlookWorkerDown": Case(
        {'up{job="secondlook",instance="a"}': "0+0x30"},
        [{'up{job="secondlook",instance="a"}': "1+0x30", 'up{job="other",instance="a"}': "0+0x30"}],
        "The worker a doesn't answer.",
        {"job": "secondlook", "instance": "a"},
    ),
    "SecondlookStandsStill": Case(
        {
            f"secondlook_lag_records{PER_SOURCE}": "5+0x30",
            'secondlook_last_commit_timestamp_seconds{instance="a"}': "0+0x30",
        },
        [
            {
                f"secondlook_lag_records{PER_SOURCE}": "5+0x30",
                'secondlook_last_commit_timestamp_seconds{instance="a"}': "0+0x30",
                'secondlook_last_commit_timestamp_seconds{instance="b"}': "0+60x30",
            },
            {
                f"secondlook_lag_records{PER_SOURCE}": "0+0x30",
                'secondlook_last_commit_timestamp_seconds{instance="a"}': "0+0x30",
            },
        ],
        "Records wait, and no worker has committed anything for two minutes.",
    ),
    "SecondlookBehind": Case(
        {f"secondlook_lag_seconds{PER_SOURCE}": "90+0x30"},
        [{f"secondlook_lag_seconds{PER_SOURCE}": "30+0x30"}, {f"secondlook_lag_seconds{PER_SOURCE}": "0+0x26 90+0x4"}],
        "The requests being read are more than a minute old.",
        {"source": "requests"},
    ),
    "SecondlookHeldBack": Case(
        {f"secondlook_paused{PER_SOURCE}": "2+0x30"},
        [{f"secondlook_paused{PER_SOURCE}": "0+0x30"}, {f"secondlook_paused{PER_SOURCE}": "0+0x26 2+0x4"}],
        "Reading of requests is held back: memory is full.",
        {"source": "requests"},
    ),
    "SecondlookWaitsTooLong": Case(
        {f"secondlook_pending_overdue_seconds{PER_SOURCE}": "90+0x30"},
        [
            {f"secondlook_pending_overdue_seconds{PER_SOURCE}": "2+0x30"},
            {f"secondlook_pending_overdue_seconds{PER_SOURCE}": "0+0x26 90+0x4"},
        ],
        "The oldest of the requests should have timed out 1m 30s ago, and still waits.",
        {"source": "requests"},
    ),
    "SecondlookDecisionsLate": Case(
        {
            'secondlook_response_to_decision_seconds_bucket{instance="a",le="10.0"}': "0+90x60",
            'secondlook_response_to_decision_seconds_bucket{instance="a",le="30.0"}': "0+100x60",
            'secondlook_response_to_decision_seconds_bucket{instance="a",le="+Inf"}': "0+100x60",
        },
        [
            {
                'secondlook_response_to_decision_seconds_bucket{instance="a",le="5.0"}': "0+995x60",
                'secondlook_response_to_decision_seconds_bucket{instance="a",le="10.0"}': "0+999x60",
                'secondlook_response_to_decision_seconds_bucket{instance="a",le="+Inf"}': "0+1000x60",
            },
            {'secondlook_response_to_decision_seconds_bucket{instance="a",le="+Inf"}': "0+0x60"},
        ],
        "One answer in a hundred waits 28s or longer for its decision.",
    ),
    "SecondlookBrokerAway": Case(
        {'secondlook_broker_silent_seconds{instance="a"}': "30+0x30"},
        [{'secondlook_broker_silent_seconds{instance="a"}': "2+0x30"}],
        "No Kafka broker has answered a for 30s.",
        {"instance": "a"},
    ),
    "SecondlookRecordsSkipped": Case(
        *counted('secondlook_records_skipped_total{instance="a",cause="retention"}'),
        "Records or state were gone from Kafka (retention), and a worker went on without them.",
        {"instance": "a", "cause": "retention"},
        "12m",
    ),
    "SecondlookIncidents": Case(
        *counted('secondlook_incidents_total{instance="a",stage="score"}'),
        "Stage score failed on single records, which went to humans or to the dead letters.",
        {"instance": "a", "stage": "score"},
        "12m",
    ),
    "SecondlookTokensUnread": Case(
        *counted('secondlook_tokens_unread_total{instance="a",provider="gemini"}'),
        "Answers of gemini have log-probabilities in a shape that is not known: they are not scored.",
        {"instance": "a", "provider": "gemini"},
        "12m",
    ),
    "SecondlookChangelogGrows": Case(
        {'secondlook_changelog_records{instance="a"}': "3000000+0x60"},
        [{'secondlook_changelog_records{instance="a"}': "100000+0x60"}],
        "The changelog is not cut: taking partitions over will take long.",
    ),
    "SecondlookClockOff": Case(
        {'secondlook_clock_skew_seconds{instance="a"}': "-7+0x60"},
        [
            {'secondlook_clock_skew_seconds{instance="a"}': "1+0x60"},
            {'secondlook_clock_skew_seconds{instance="a"}': "NaN"},
        ],
        "The clock of a differs from the broker's by 7 s.",
        {"instance": "a"},
    ),
    "SecondlookAnswersMissing": Case(
        {**AUTOMATED, **decisions("no_response", "0+50x60")},
        [{**AUTOMATED, **decisions("no_response", "0+1x60")}, AUTOMATED],
        "50% of all requests go to a human because no LLM answer came in time.",
    ),
    "SecondlookBehindOpenTransaction": Case(
        {f"secondlook_lag_open_transaction_records{PER_SOURCE}": "5+0x30"},
        [{f"secondlook_lag_open_transaction_records{PER_SOURCE}": "0+0x30"}],
        "5 requests can't be read: a producer's transaction stands open before them.",
        {"source": "requests"},
    ),
    "SecondlookStoreFull": Case(
        decisions("store_full", "_x9 7+0x2"),
        [decisions("store_full", "7+0x60"), decisions("no_response", "_x9 7+0x2")],
        "Memory is at its limit: requests go to humans before their answers can be read.",
        at="12m",
    ),
    "SecondlookModelFails": Case(
        {'secondlook_model_failures_total{instance="a"}': "0+0x25 1+0x30"},
        [{'secondlook_model_failures_total{instance="a"}': "1+0x60"}],
        "The error model failed on batches at a; they went to humans.",
        {"instance": "a"},
    ),
    "SecondlookNothingAutomated": Case(
        decisions("above_threshold", "0+50x60"),
        [{**AUTOMATED, **decisions("above_threshold", "0+50x60")}],
        "100% of all decisions go to humans.",
        at="40m",
    ),
    "SecondlookPolicyUnknown": Case(
        decisions("no_threshold", "0+1x60"),
        [decisions("above_threshold", "0+1x60")],
        "Requests go to humans because no threshold covers their policy.",
    ),
    "SecondlookTenantUnreadable": Case(
        decisions("tenant_unreadable", "0+1x60"),
        [decisions("above_threshold", "0+1x60")],
        "Requests go to humans because controls are set by tenant, and their tenant is no text.",
    ),
    "SecondlookDeadLetters": Case(
        {
            'secondlook_dead_letters_total{code="not_a_record"}': "0+5x60",
            'secondlook_records_consumed_total{source="requests"}': "0+100x60",
        },
        [
            {
                'secondlook_dead_letters_total{code="not_a_record"}': "0+1x60",
                'secondlook_records_consumed_total{source="requests"}': "0+200x60",
            }
        ],
        "5% of all records are set aside as dead letters.",
    ),
    "SecondlookControlsDiffer": Case(
        {
            'secondlook_controls_info{job="secondlook",instance="a",hash="1",settings_hash="x"}': "1+0x30",
            'secondlook_controls_info{job="secondlook",instance="b",hash="2",settings_hash="x"}': "1+0x30",
        },
        [
            {
                'secondlook_controls_info{job="secondlook",instance="a",hash="1",settings_hash="x"}': "1+0x30",
                'secondlook_controls_info{job="secondlook",instance="b",hash="1",settings_hash="x"}': "1+0x30",
                'secondlook_controls_info{job="another",instance="c",hash="2",settings_hash="x"}': "1+0x30",
            }
        ],
        "Split fleet: the workers do not decide under the same controls, or the model and costs of their settings differ.",
        {"job": "secondlook"},
    ),
    "SecondlookControlsNotHonoured": Case(
        {'secondlook_controls_honoured{instance="a"}': "0+0x30"},
        [{'secondlook_controls_honoured{instance="a"}': "1+0x30"}],
        "a cannot do what the controls in force say: everything there goes to humans.",
        {"instance": "a"},
    ),
    "SecondlookAutomationStopped": Case(
        {f"secondlook_automation_stopped{{{LABELS_OF_SCOPE}}}": "1+0x60"},
        [{f"secondlook_automation_stopped{{{LABELS_OF_SCOPE}}}": "_x19 1+0x11"}],
        "Automation of policy hate, tenant *, outcome * (* = every) has been stopped for a quarter of an hour.",
        SCOPE,
    ),
    "SecondlookControlTopicUnreadable": Case(
        {'secondlook_control_last_read_age_seconds{instance="a"}': "30+0x30"},
        [{'secondlook_control_last_read_age_seconds{instance="a"}': "1+0x30"}],
        "a has not been able to read the control topic to its end for 30s: a stop would not reach it.",
        {"instance": "a"},
    ),
    "SecondlookControlRefused": Case(
        {'secondlook_control_messages_refused_total{instance="a",reason="stale"}': "0+0x25 1+0x30"},
        [{'secondlook_control_messages_refused_total{instance="a",reason="stale"}': "1+0x60"}],
        "A control message was refused (stale); what was in force stays in force.",
        {"instance": "a", "reason": "stale"},
    ),
    "SecondlookReviewBudgetUnmet": Case(
        {f"secondlook_review_budget_unmet{{{LABELS_OF_SCOPE}}}": "1+0x60"},
        [{f"secondlook_review_budget_unmet{{{LABELS_OF_SCOPE}}}": "0+0x60"}],
        "The review budget of hate (tenant *, outcome *) cannot be held.",
        SCOPE,
    ),
    "SecondlookBatchesAborted": Case(
        {'secondlook_batches_total{result="aborted"}': "0+6x60"},
        [
            {'secondlook_batches_total{result="aborted"}': "0+1x60"},
            {'secondlook_batches_total{result="committed"}': "0+6x60"},
        ],
        "Transactions are aborted again and again; their batches are redone.",
    ),
    "SecondlookShadowLeftOut": Case(
        {'secondlook_shadow_honoured{instance="a"}': "0+0x30"},
        [{'secondlook_shadow_honoured{instance="a"}': "1+0x30"}],
        "a leaves the shadow out: its decisions say nothing of it. What is in force is not touched.",
        {"instance": "a"},
    ),
    "SecondlookRiskAboveBound": Case(
        *alerting("risk", f'instance="a",{LABELS_OF_SCOPE}'),
        "More of what is automated of hate (tenant *, outcome *) is wrong than its risk bound allows, with the bound's confidence.",
        SCOPE,
    ),
    "SecondlookUncalibrated": Case(
        *alerting("calibration", OF_LLM),
        "P(error) of hate answers of m is not what it says: costs and thresholds rest on it.",
        BY_LLM,
    ),
    "SecondlookPredictorMissing": Case(
        *alerting("missing", f'{OF_LLM},subject="margin"'),
        "More hate answers of m lack margin than in training.",
        {**BY_LLM, "subject": "margin"},
    ),
    "SecondlookDrift": Case(
        *alerting("drift", f'{OF_LLM},subject="margin"'),
        "margin of hate answers of m is not spread as in training.",
        {**BY_LLM, "subject": "margin"},
        "40m",
    ),
    "SecondlookAuditsNotJudged": Case(
        {
            f"secondlook_live_audits_judged{{{OF_LLM}}}": "10+0x1600",
            f"secondlook_live_audits_drawn{{{OF_LLM}}}": "200+0x1600",
        },
        [
            {
                f"secondlook_live_audits_judged{{{OF_LLM}}}": "150+0x1600",
                f"secondlook_live_audits_drawn{{{OF_LLM}}}": "200+0x1600",
            },
            {
                f"secondlook_live_audits_judged{{{OF_LLM}}}": "1+0x1600",
                f"secondlook_live_audits_drawn{{{OF_LLM}}}": "20+0x1600",
            },
        ],
        "Humans have judged less than half of the audits of hate: how often it is wrong rests on few, and on which ones they chose.",
        {"job": "secondlook", "policy": "hate"},
        "26h",
    ),
    "SecondlookReviewsTooLate": Case(
        {
            'secondlook_quality_reviews_total{job="secondlook",result="counted"}': "0+10x240",
            'secondlook_quality_reviews_total{job="secondlook",result="unmatched"}': "0+2x240",
        },
        [
            {
                'secondlook_quality_reviews_total{job="secondlook",result="counted"}': "0+1000x240",
                'secondlook_quality_reviews_total{job="secondlook",result="late"}': "0+1x240",
            }
        ],
        "More than one in a hundred human decisions do not count in live quality: the answers that they are about are forgotten, or never went to a human.",
        {"job": "secondlook"},
        "4h",
    ),
    "SecondlookQualityNotKept": Case(
        {'up{job="secondlook",instance="a"}': "1+0x60"},
        [
            {
                'up{job="secondlook",instance="a"}': "1+0x60",
                'secondlook_quality_lag_records{job="secondlook",instance="a"}': "0+0x60",
            },
            {'up{job="secondlook",instance="a"}': "0+0x60"},
        ],
        "No worker keeps the books of live quality: none of its alerts can fire.",
        {"job": "secondlook"},
    ),
    "SecondlookQualityBehind": Case(
        {'secondlook_quality_lag_records{job="secondlook",instance="a"}': "2000000+0x120"},
        [{'secondlook_quality_lag_records{job="secondlook",instance="a"}': "1000+0x120"}],
        "Live quality is a million records behind: what it says is old.",
        {"job": "secondlook"},
        "2h",
    ),
}
