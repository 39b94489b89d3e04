"""What the board shows together, and in which order. What is asked of a metric that is only named: see `docs.board`."""

from typing import Final

from docs.board import Line, Panel, Row, increase, quantiles, share

ROWS: Final = (
    Row(
        "Decisions",
        (
            Panel(
                "Decisions",
                (Line("sum by (route) (rate(secondlook_decisions_total[$__rate_interval]))", "{{route}}"),),
                unit="ops",
                stacked=True,
            ),
            Panel(
                "Share that goes to humans",
                (
                    share("secondlook_decisions_total", '{route="human-review"}'),
                    share("secondlook_decisions_total", '{route="human-review"}', by="policy"),
                ),
                about="Escalated decisions over all decisions. Policies that neither the model nor a threshold knows are counted as `other`.",
                unit="percentunit",
                most=1,
            ),
            Panel(
                "Why they go to humans",
                (
                    Line(
                        'sum by (reason) (rate(secondlook_decisions_total{route="human-review"}[$__rate_interval]))',
                        "{{reason}}",
                    ),
                ),
                unit="ops",
                stacked=True,
            ),
            Panel(
                "Thresholds in force",
                ("secondlook_threshold",),
                about="An answer whose probability of being wrong is at or above its policy's threshold goes to a human.",
                unit="percentunit",
                most=1,
            ),
            Panel(
                "Humans who disagree with the LLM",
                (
                    share(
                        "secondlook_human_decisions_total",
                        '{agreement="disagrees"}',
                        '{agreement=~"agrees|disagrees"}',
                        by="policy",
                        over="1h",
                    ),
                ),
                about="Of the reviewed decisions in which the LLM had decided. High is good: it is what the second look is for.",
                unit="percentunit",
                most=1,
            ),
            Panel(
                "Dead letters",
                ("secondlook_dead_letters_total",),
                stacked=True,
            ),
        ),
    ),
    Row(
        "Latency",
        (
            Panel("From the answer to its decision", ("secondlook_response_to_decision_seconds",)),
            Panel(
                "From the request to its decision",
                quantiles("secondlook_request_to_decision_seconds", 0.5, 0.95, 0.99, where='{answered="yes"}'),
                about="The LLM's time is in it. Those that were answered: the others wait for response_timeout. By the records' timestamps and the worker's clock.",
                unit="s",
            ),
            Panel(
                "The longest that a record has waited",
                ("secondlook_pending_oldest_seconds", "secondlook_pending_overdue_seconds"),
            ),
        ),
    ),
    Row(
        "What the model sees",
        (
            Panel(
                "P(error) by policy",
                quantiles("secondlook_error_probability", 0.5, 0.9, by="policy"),
                unit="percentunit",
                most=1,
            ),
            Panel(
                "Predictors that are missing",
                (
                    Line(
                        "sum by (predictor) (rate(secondlook_predictors_missing_total[$__rate_interval])) / ignoring (predictor) group_left sum(rate(secondlook_answers_total[$__rate_interval]))",
                        "{{predictor}}",
                    ),
                ),
                about="The share of the answers that lack each.",
                unit="percentunit",
                most=1,
            ),
            Panel(
                "Human decisions by channel and route",
                (increase("secondlook_human_decisions_total", "channel, route", over="1h"),),
                about="Per hour: how the answer came to the human, and where its decision had gone.",
                unit="none",
            ),
        ),
    ),
    Row(
        "Memory",
        (
            Panel(
                "Of each process",
                (Line('process_resident_memory_bytes{job="secondlook"}', "{{instance}}"),),
                about="As the system sees it: what is kept, and the program.",
                unit="bytes",
            ),
            Panel(
                "Decided ids",
                ("secondlook_remembered_ids",),
                about="Remembered to tell duplicates and late answers: about 130 bytes each.",
            ),
            Panel("Books of live quality", ("secondlook_quality_kept",)),
        ),
    ),
    Row(
        "Flow",
        (
            Panel(
                "Records read",
                ("secondlook_records_consumed_total",),
            ),
            Panel(
                "Lag",
                ("secondlook_lag_records", "secondlook_lag_open_transaction_records"),
                about="Records not yet read, over all partitions; and those of them that stand behind a transaction that is still open.",
            ),
            Panel(
                "Age of what is being read",
                ("secondlook_lag_seconds",),
                about="The worst partition's. 0 where nothing waits.",
            ),
            Panel(
                "Waiting for the other half",
                ("secondlook_pending_records",),
                about="Requests without their answer, and answers without their request.",
            ),
            Panel(
                "Memory of what waits",
                (Line("sum by (instance, source) (secondlook_pending_bytes)", "{{instance}} {{source}}"),),
                about="Bytes of waiting records, overheads included. Reading is held back at three quarters of max_pending_bytes; at the whole, the oldest are decided (store_full).",
                unit="bytes",
            ),
            Panel(
                "Held back",
                (Line("sum by (instance, source) (secondlook_paused)", "{{instance}} {{source}}"),),
                about="Partitions held back because memory is full: the side of which more records wait.",
                unit="bool",
                most=1,
            ),
        ),
    ),
    Row(
        "Time",
        (
            Panel("A batch from poll to commit", ("secondlook_batch_seconds",), about="All workers together."),
            Panel(
                "Stages, 95th percentile",
                quantiles("secondlook_stage_seconds", 0.95, by="stage"),
                unit="s",
            ),
            Panel(
                "Since the last commit",
                (Line("time() - secondlook_last_commit_timestamp_seconds", "{{instance}}"),),
                about="Grows while there is nothing to do, too: look at the lag beside it.",
                unit="s",
            ),
        ),
    ),
    Row(
        "Workers",
        (
            Panel(
                "Batches",
                ("secondlook_batches_total",),
                about="Batches per second by how they ended. Aborted: taken back and read again. Stale: their partitions had been dealt anew.",
            ),
            Panel(
                "Controls in force",
                ("secondlook_control_version",),
                about="The version of each worker: equal, but for the moment in which a message is read. Which controls those are, and since when: secondlook control show.",
            ),
            Panel(
                "Trouble",
                (
                    increase("secondlook_model_failures_total"),
                    increase("secondlook_control_messages_refused_total"),
                    increase("secondlook_assignments_total"),
                    increase("secondlook_incidents_total"),
                    increase("secondlook_producers_replaced_total"),
                    Line("1 - secondlook_controls_honoured", "{{instance}} controls not honoured"),
                    "secondlook_automation_stopped",
                ),
                about="In five minutes: batches that the model failed on, records that a stage failed on, producers replaced, control messages refused, and times that partitions were dealt. Beside them: workers that cannot honour the controls in force, and policies whose automation is stopped (1 each).",
            ),
            Panel(
                "Models in force",
                (Line("secondlook_model_info", ""),),
                unit="none",
                table=True,
            ),
            Panel(
                "Log-probabilities not read",
                (increase("secondlook_tokens_unread_total", "provider"),),
                about="In five minutes: answers whose log-probabilities are in no known shape, by provider. They go to humans.",
                unit="none",
            ),
        ),
    ),
    Row(
        "Kafka and the changelog",
        (
            Panel(
                "Since a broker answered",
                ("secondlook_broker_silent_seconds",),
                about="Above 10 s brokers count as away: /ready fails, workers wait.",
            ),
            Panel(
                "Clock",
                ("secondlook_clock_skew_seconds",),
                least=None,
            ),
            Panel(
                "Gone from Kafka, and passed by",
                (
                    Line("sum by (cause) (secondlook_records_skipped_total)", "{{cause}}"),
                    Line("sum(secondlook_changelog_foreign_records_total)", "foreign"),
                ),
                about="Records or state by cause, since each worker's start (on_data_loss = continue); records in the changelog that are not ours.",
                unit="none",
            ),
            Panel(
                "Length of the changelog",
                (Line("sum by (instance) (secondlook_changelog_records)", "{{instance}}"),),
                about="Records that it holds of each worker's partitions: what a restart reads.",
                unit="short",
            ),
            Panel(
                "Taking partitions over",
                ("secondlook_restore_seconds", "secondlook_restoring"),
                about="How long it took the last time; 1 while it goes on.",
            ),
            Panel(
                "Reach of the deduplication",
                (Line("min by (instance) (secondlook_remembered_seconds)", "{{instance}}"),),
                about="How far back decided requests are remembered: dedup_window, or less where max_remembered is too small.",
                unit="s",
            ),
        ),
    ),
    Row(
        "Shadow",
        (
            Panel(
                "Would be automated with the shadow",
                (
                    share("secondlook_shadow_decisions_total", '{live="human-review", shadow="auto-action"}'),
                    share(
                        "secondlook_shadow_decisions_total", '{live="human-review", shadow="auto-action"}', by="policy"
                    ),
                ),
                about="Share of the decisions made beside a shadow that went to a human, and would not have with it in force. A stop that is in force is looked behind.",
                unit="percentunit",
                most=1,
            ),
            Panel(
                "Would go to humans with the shadow",
                (
                    share("secondlook_shadow_decisions_total", '{live="auto-action", shadow="human-review"}'),
                    share(
                        "secondlook_shadow_decisions_total", '{live="auto-action", shadow="human-review"}', by="policy"
                    ),
                ),
                about="Share of the decisions made beside a shadow that were automated, and would not have been with it in force.",
                unit="percentunit",
                most=1,
            ),
            Panel(
                "The shadow on each worker",
                (
                    Line("secondlook_shadow_info", "{{instance}} {{name}}"),
                    Line("1 - secondlook_shadow_honoured", "{{instance}} left out"),
                    increase("secondlook_shadow_failures_total"),
                ),
                about="Its model (1 where it is looked at), workers that cannot honour it and leave it out (1), and batches that it failed on in five minutes. What is in force hangs on none of them.",
                unit="none",
            ),
        ),
    ),
    Row(
        "Review budgets",
        (
            Panel(
                "Share that goes to humans, and that is to go",
                (
                    "secondlook_review_budget",
                    Line(
                        "max by (instance, policy, tenant, outcome) (secondlook_review_share)",
                        "{{policy}} {{tenant}} {{outcome}} {{instance}}",
                    ),
                ),
                about="By the decisions that each worker counted lately for a budget. Within a twentieth of the budget, or four standard errors, nothing moves.",
                unit="percentunit",
            ),
            Panel(
                "Thresholds that budgets move",
                (
                    Line(
                        "max by (policy, tenant, outcome) (secondlook_threshold and on (policy, tenant, outcome) secondlook_review_budget)",
                        "{{policy}} {{tenant}} {{outcome}}",
                    ),
                ),
                about="The threshold of each scope with a review budget. It moves once a minute at most, inside the budget's limits.",
                unit="none",
                most=1,
            ),
            Panel(
                "Budgets that are not met",
                ("secondlook_review_budget_unmet", "secondlook_review_budget_state"),
                about="1: more would have to be automated than the limits allow, humans get more than the share whatever the threshold, or no worker can write or sign the moves. secondlook control show says which.",
                most=1,
            ),
        ),
    ),
    Row(
        "Live quality",
        (
            Panel(
                "Wrong among the automated",
                (
                    "secondlook_live_error_rate",
                    "secondlook_live_error_rate_low",
                    "secondlook_live_error_rate_high",
                    "secondlook_live_error_rate_recent",
                    "secondlook_live_error_estimated",
                ),
                about="By audits alone, weighted, since the model came into force, with the 90 % confidence sequence; lately: by the last 200 audits or more. Expected: the mean P(error), known before any human has looked. Nothing is drawn where nothing is known.",
                most=1,
            ),
            Panel(
                "Audits drawn and judged",
                ("secondlook_live_audits_drawn", "secondlook_live_audits_judged"),
                about="What humans have not judged yet says nothing. The error rate takes for granted that what they have got to is like the rest.",
            ),
            Panel(
                "Alerts of live quality",
                ("secondlook_quality_alert",),
                about="1: the alert is raised. secondlook control show says by which figures, docs/runbooks.md what to do.",
                most=1,
            ),
            Panel(
                "Escalated verdicts that humans overturned",
                ("secondlook_live_overturned_share",),
                about="The share of those that they have judged. Where it is low, the threshold sends them what the LLM gets right.",
                most=1,
            ),
            Panel(
                "Calibration: Spiegelhalter's z",
                ("secondlook_live_calibration_z",),
                about="Above 0 more errors than P(error) says, below fewer. At one look within 2 of 0 where all is well; who looks again and again goes by the alert.",
                least=None,
            ),
            Panel(
                "Drift: the predictors farthest from training",
                ("secondlook_live_drift",),
                about="Population stability index; 0.1 is commonly called small, 0.2 large.",
            ),
            Panel(
                "What became of human decisions",
                (increase("secondlook_quality_reviews_total", "result", over="1h"),),
                about="Per hour. unmatched: no answer is remembered that they are about. late: they change what was settled.",
                unit="none",
            ),
            Panel(
                "How far the books are behind",
                (
                    Line("max(secondlook_quality_lag_records)", "records"),
                    Line("sum(secondlook_quality_records_skipped_total)", "gone unread"),
                ),
                unit="none",
            ),
        ),
    ),
)
