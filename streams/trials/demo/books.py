"""The demo's books: what was sent, what came out, and the figures that follow. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streams.trials.demo.traffic import Script

REVIEW_COST = 0.64
MISTAKE_COST = 1.0


@dataclass(slots=True)
class Books:
    """Filled in by the demo's threads; `figures` is the whole result."""

    script: Script
    swap_version: int = 1
    sent_at: dict[str, float] = field(default_factory=dict)
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    duplicated: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    dead: list[tuple[str, str]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def sent(self, key: str, at: float) -> None:
        """The later of a request and its response starts the clock."""
        self.sent_at[key] = at

    def decided(self, decision: dict[str, Any], at: float) -> None:
        """A decision was read."""
        request_id = decision["request_id"]
        if request_id not in self.script.items:
            self.unexpected.append(request_id)
        elif request_id in self.decisions:
            self.duplicated[request_id] += 1
        else:
            self.decisions[request_id] = decision
            if request_id not in self.script.faults:
                self.latencies.append(at - self.sent_at[request_id])

    @property
    def lost(self) -> int:
        """Requests without a decision."""
        return len(self.script.items) - len(self.decisions)

    def by_reason(self) -> Counter[tuple[str, str]]:
        """(route, reason) -> decisions."""
        return Counter((one["route"], one["reasons"][0]) for one in self.decisions.values())

    def _scored(self, *, swapped: bool) -> list[dict[str, Any]]:
        """The scored decisions before or after the swap."""
        return [
            one
            for one in self.decisions.values()
            if one["threshold"] is not None and (one["control_version"] >= self.swap_version) == swapped
        ]

    def escalation(self, *, swapped: bool) -> float | None:
        """The share of scored decisions that went to a human, before or after the swap."""
        routes = [one["route"] for one in self._scored(swapped=swapped)]
        return routes.count("human-review") / len(routes) if routes else None

    def escalation_without_swap(self) -> float | None:
        """What the escalation after the swap would have been under the threshold before it: the same items."""
        old, after = self.threshold(swapped=False), self._scored(swapped=True)
        return sum(one["error_probability"] >= old for one in after) / len(after) if after and old is not None else None

    def threshold(self, *, swapped: bool) -> float | None:
        """The threshold that decided, before or after the swap; None where there was none, or more than one."""
        known = {one["threshold"] for one in self._scored(swapped=swapped)}
        return known.pop() if len(known) == 1 else None

    def accuracy(self) -> dict[str, Any]:
        """Accuracy of the automated part and of the LLM on every verdict that could be scored, and the costs."""
        scored = [one for one in self.decisions.values() if one["threshold"] is not None]
        right = np.array([one["llm"]["outcome"] == self.script.items[one["request_id"]].label for one in scored], bool)
        automated = np.array([one["route"] == "auto-action" for one in scored], bool)
        cost = MISTAKE_COST * (automated & ~right).sum() + REVIEW_COST * (~automated & right).sum()
        return {
            "automated_accuracy": float(right[automated].mean()) if automated.any() else None,
            "llm_accuracy": float(right.mean()) if right.size else None,
            "cost": {
                "secondlook": round(float(cost), 2),
                "trust_all": round(float(MISTAKE_COST * (~right).sum()), 2),
                "escalate_all": round(float(REVIEW_COST * right.sum()), 2),
                "unit": f"one mistake = {MISTAKE_COST:g}, one review of a right verdict = {REVIEW_COST:g}",
            },
        }

    def faults(self) -> list[dict[str, Any]]:
        """What each malformed or missing record came to: its request's decision, and its dead letter if it has one."""
        codes: dict[str, list[str]] = {}
        for key, code in self.dead:
            codes.setdefault(key, []).append(code)
        rows = []
        for request_id, fault in sorted(self.script.faults.items(), key=lambda entry: (entry[1], entry[0])):
            decision = self.decisions.get(request_id)
            ends = codes.get(request_id, []) + codes.get(f"stray-{request_id}", [])
            rows.append(
                {
                    "request_id": request_id,
                    "fault": fault.value,
                    "decision": f"{decision['route']}: {decision['reasons'][0]}" if decision else "LOST",
                    "dead_letters": ends,
                }
            )
        return rows

    def figures(self) -> dict[str, Any]:
        """The result, as `--json` writes it. Latencies are from the later record sent to the decision read, in ms."""
        routes = Counter(one["route"] for one in self.decisions.values())
        p50, p99 = np.percentile(self.latencies, [50, 99]) * 1000 if self.latencies else (None, None)
        return {
            "requests": len(self.script.items),
            "decisions": len(self.decisions),
            "lost": self.lost,
            "duplicated": sum(self.duplicated.values()) + len(self.unexpected),
            "auto_action": routes["auto-action"],
            "human_review": routes["human-review"],
            "dead_letters": len(self.dead),
            "reasons": {f"{route}: {reason}": count for (route, reason), count in sorted(self.by_reason().items())},
            "threshold_before": self.threshold(swapped=False),
            "threshold_after": self.threshold(swapped=True),
            "escalation_before": self.escalation(swapped=False),
            "escalation_after": self.escalation(swapped=True),
            "escalation_after_without_swap": self.escalation_without_swap(),
            **self.accuracy(),
            "latency_ms": {"p50": _rounded(p50), "p99": _rounded(p99)},
            "faults": self.faults(),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 2)
