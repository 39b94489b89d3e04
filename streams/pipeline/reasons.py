"""Reason codes: why a record went where it went. One table each for decisions, dead letters and refused control messages.

The docs page lists the tables; decisions, headers, control-status and metrics carry the codes.
"""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why a request was routed as it was (the decision's `reasons`)."""

    BELOW_THRESHOLD = "below_threshold"
    ABOVE_THRESHOLD = "above_threshold"
    EVIDENCE_DEFICIENCY = "evidence_deficiency"
    POLICY_GAP = "policy_gap"
    AUDIT = "audit"
    NO_RESPONSE = "no_response"
    UNREADABLE_ANSWER = "unreadable_answer"
    OUTCOME_MISSING = "outcome_missing"
    PREDICTORS_MISSING = "predictors_missing"
    NO_THRESHOLD = "no_threshold"
    AUTOMATION_STOPPED = "automation_stopped"
    TENANT_UNREADABLE = "tenant_unreadable"
    REQUEST_NOT_PORTABLE = "request_not_portable"
    CONTROLS_NOT_HONOURED = "controls_not_honoured"
    MODEL_FAILED = "model_failed"
    STORE_FULL = "store_full"
    INTERNAL_ERROR = "internal_error"

    __hash__ = str.__hash__  # an enumeration's own takes its time, and this is a part of keys of every decision


class DeadLetter(StrEnum):
    """Why a record was set aside (the dead letter's `secondlook.error.code`)."""

    NOT_A_RECORD = "not_a_record"
    INVALID_REQUEST = "invalid_request"
    MISSING_KEY = "missing_key"
    KEY_MISMATCH = "key_mismatch"
    DUPLICATE_REQUEST = "duplicate_request"
    DUPLICATE_RESPONSE = "duplicate_response"
    LATE_RESPONSE = "late_response"
    ORPHAN_RESPONSE = "orphan_response"
    TOO_LARGE = "too_large"
    UNREADABLE_HEADERS = "unreadable_headers"
    STORE_FULL = "store_full"
    INTERNAL_ERROR = "internal_error"


class Refusal(StrEnum):
    """Why a control message was refused (the metric's `reason`)."""

    INVALID = "invalid"
    STALE = "stale"
    EXPIRED = "expired"
    OTHER_MODEL = "other_model"
    NOT_STOPPED = "not_stopped"
    NO_SHADOW = "no_shadow"
    NO_BUDGET = "no_budget"
    UNKNOWN_VERSION = "unknown_version"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    REPLAYED = "replayed"
    DIFFERS = "differs"


REASONS: Final[dict[Reason, str]] = {
    Reason.BELOW_THRESHOLD: "P(error) is below the threshold in force: the LLM's verdict is acted on.",
    Reason.ABOVE_THRESHOLD: "P(error) is at or above the threshold in force.",
    Reason.EVIDENCE_DEFICIENCY: "The LLM answered 2: the content gives too little evidence.",
    Reason.POLICY_GAP: "The LLM answered 3: the policy does not define this case.",
    Reason.AUDIT: "Below the threshold, but drawn for a human check by the audit rate in force.",
    Reason.NO_RESPONSE: "No LLM response arrived within the response timeout.",
    Reason.UNREADABLE_ANSWER: "A response arrived whose body is no provider's answer.",
    Reason.OUTCOME_MISSING: "The answer could be read, but holds no outcome (a refusal, an empty answer, other words).",
    Reason.PREDICTORS_MISSING: "The answer lacks predictors that the model has never seen missing (log-probabilities, mostly): `missing_predictors` names them.",
    Reason.NO_THRESHOLD: "No threshold covers this policy: `*` covers only the policies that the model was trained on, and a model that "
    "was swapped in has none until one is set for it.",
    Reason.AUTOMATION_STOPPED: "Automation of this policy, tenant or outcome, or of all, is stopped by a control message.",
    Reason.TENANT_UNREADABLE: "Controls are set by tenant, and the request's `tenant` is no text of 1 to 255 characters.",
    Reason.REQUEST_NOT_PORTABLE: "The request holds what not every JSON parser reads: a number beyond 64 bits, half a surrogate pair, more "
    "than 60 levels. The decision carries that as strings.",
    Reason.CONTROLS_NOT_HONOURED: "The worker cannot do what the controls in force say (it lacks their model, say); `/ready`, control-status "
    "and `secondlook control show` say why.",
    Reason.MODEL_FAILED: "The model gave no probability for this answer.",
    Reason.STORE_FULL: "Memory was at its limit (`max_pending_bytes`) before the response could be read.",
    Reason.INTERNAL_ERROR: "secondlook failed on this answer: the log says where, and names the records.",
}

DEAD_LETTERS: Final[dict[DeadLetter, str]] = {
    DeadLetter.NOT_A_RECORD: "The value is not a JSON object in UTF-8 (truncated, empty, binary).",
    DeadLetter.INVALID_REQUEST: "A request without a usable `request_id` or `policy`.",
    DeadLetter.MISSING_KEY: "The record has no key: request and response could not meet in one partition.",
    DeadLetter.KEY_MISMATCH: "The record's key is not its `request_id`.",
    DeadLetter.DUPLICATE_REQUEST: "A request with this id is waiting or was decided within the deduplication window.",
    DeadLetter.DUPLICATE_RESPONSE: "A response to this request is waiting or was used within the deduplication window.",
    DeadLetter.LATE_RESPONSE: "The request had already been escalated for want of a response.",
    DeadLetter.ORPHAN_RESPONSE: "No request with this id arrived within the response timeout.",
    DeadLetter.TOO_LARGE: "The record leaves no room for what is written around it (`max_record_bytes`). Where not even a dead "
    "letter can hold it, key and value are left out, and stand in its own topic at the partition and offset in the headers.",
    DeadLetter.UNREADABLE_HEADERS: "The name of a header is not UTF-8: key and value are here, the headers stand in the record's "
    "own topic, at the partition and offset in the headers.",
    DeadLetter.STORE_FULL: "Memory was at its limit (`max_pending_bytes`) before the request of this response could be read.",
    DeadLetter.INTERNAL_ERROR: "secondlook failed on this record: the log says where.",
}

REFUSALS: Final[dict[Refusal, str]] = {
    Refusal.INVALID: "It is no control message: not JSON, a field that is wrong or that nobody knows, costs that give no threshold.",
    Refusal.STALE: "Another version is in force than the one that it expects.",
    Refusal.EXPIRED: "The broker stamped it at its `expires_at` or later, or put no time on it.",
    Refusal.OTHER_MODEL: "A threshold made for another model than the one that the log names.",
    Refusal.NOT_STOPPED: "Automation was not stopped by that name, so it cannot be resumed by it.",
    Refusal.NO_SHADOW: "There is no shadow that could be cleared.",
    Refusal.NO_BUDGET: "A move of a threshold whose scope has no review budget, or beyond the budget's limits.",
    Refusal.UNKNOWN_VERSION: "A rollback to a version that no message made, or more than 1,000 versions ago.",
    Refusal.UNSIGNED: "Only signed messages count (`control_keys`), and it is not, or lacks `issued_at` or `expires_at`.",
    Refusal.BAD_SIGNATURE: "Its signature is none of a trusted key over this message in this topic.",
    Refusal.REPLAYED: "Its key has signed a message as young or younger before it: it is a copy, or came out of order. Or its issuer's "
    "clock is five minutes ahead of the broker's.",
    Refusal.DIFFERS: "A snapshot that says otherwise than the messages before it.",
}
