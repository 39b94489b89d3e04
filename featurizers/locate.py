"""Finds the outcome label, the stated confidence, the rationale and the category in an answer's text, by character offset.

In doubt there is no outcome: what an answer quotes, what it took back, and what its cut-off rest may have said otherwise
all leave the item to a human.
"""

import math
import re
from functools import lru_cache
from typing import NamedTuple

from featurizers.attribution import accuses, doubted, remarked, speaker, withdrawn
from featurizers.caseless import WORD, caseless
from featurizers.objects import Object, Span, read_objects
from featurizers.prose import Prose, leads, quoting, trails
from featurizers.spec import OutcomeSpec, Reasoning
from featurizers.words import Value, Words, read_lines

NOWHERE: Span = (0, 0)
NAN = float("nan")
LONGEST_CATEGORY = 200
NOTHING = frozenset({"", "none", "n/a", "na", "null", "-"})
"""What a field says that has nothing to say."""

# Verdicts without a rationale repeat all the time: an answer as short as this is read once.
SHORT = 128
CACHED_ANSWERS = 4096

Fields = dict[str, list[Value | None]]  # by the names' caseless forms; None for a value that is no scalar
Decision = tuple[int, str | None, Span]


class Located(NamedTuple):
    """What an answer's text says. Spans are characters [start, end), empty where a part is absent.

    `outcome` is the code 0..3, or -1 with the `problem` that says why; `confidence` is in 0..1, NaN where none is stated;
    `category` is the LLM's own word for the kind of violation. `answer_span` is the text without reasoning. `spelled` says
    that the outcome's characters are the label itself: not escaped, no score.
    """

    outcome: int
    problem: str | None
    confidence: float
    outcome_span: Span
    confidence_span: Span
    rationale_span: Span
    category: str | None
    answer_span: Span
    spelled: bool

    def without_outcome(self, problem: str) -> "Located":
        """The same, where something else says that the outcome cannot be acted on."""
        if self.outcome < 0:
            return self
        return self._replace(outcome=-1, problem=problem, outcome_span=NOWHERE, spelled=False)


class Locator:
    """An outcome spec, compiled. Takes time linear in the text, except where a user's own pattern does not."""

    def __init__(self, spec: OutcomeSpec) -> None:
        self._spec = spec
        self._codes = {caseless(label): code for code, labels in enumerate(spec.labels) for label in labels}
        self._words = Words(self._codes)
        self._refusal = re.compile(spec.refusal, re.IGNORECASE)
        self._fields = {
            caseless(name): not listed.endswith("?")
            for name, listed in zip(spec.outcome_fields(), spec.any_of or spec.outcome_fields(), strict=True)
        }
        self._parts = {part: caseless(name) for part, name in spec.part_fields().items()}
        self._names = {*self._fields, *self._parts.values()}
        self._beside = {caseless(name) for name in spec.beside}
        self._keys = re.compile(rf"""["'](?:{"|".join(map(re.escape, self._fields))})["']\s*+:""")
        self._confidence_words = {caseless(word): number for word, number in spec.confidence_words}
        patterns = {part: getattr(spec, f"{part}_pattern") for part in ("confidence", "rationale", "category")}
        self._patterns = {part: re.compile(pattern) for part, pattern in patterns.items() if pattern is not None}
        self._pattern = None if spec.pattern is None else re.compile(spec.pattern)
        self._cached = lru_cache(maxsize=CACHED_ANSWERS)(self._locate)

    def locate(self, text: str, refused: bool, truncated: bool) -> Located:
        """Read one answer. Never raises."""
        return (self._cached if len(text) <= SHORT else self._locate)(text, refused, truncated)

    def _locate(self, text: str, refused: bool, truncated: bool) -> Located:
        answer, certain = split_reasoning(text, self._spec.reasoning)
        # Behind reasoning that was cut off, the end of the reasoning itself may have been a quotation.
        certain = certain and not (truncated and answer[0] > 0)
        fields, decision = self._read(text, answer, truncated)
        outcome, problem, span = decision
        # A filter that cut the answer off left the verdict before it; a refusal left none.
        if outcome >= 0 and ((refused and not truncated) or not certain):
            outcome, problem, span = -1, None, NOWHERE
        if outcome < 0 and (problem is None or refused):
            problem = self._why_missing(text, answer, refused, truncated)
        confidence, confidence_span = self._confidence(text, answer, fields, truncated)
        rationale = self._part("rationale", text, answer, fields)
        category = self._part("category", text, answer, fields)
        if outcome == 0 and self._spec.where == "line" and category is not None and not _is_nothing(category):
            outcome, problem, span = -1, "outcome_ambiguous", NOWHERE
        return Located(
            outcome,
            problem,
            confidence,
            span,
            confidence_span,
            NOWHERE if rationale is None else rationale[1],
            None if category is None else category[0][:LONGEST_CATEGORY] or None,
            answer,
            caseless(text[slice(*span)].strip()) in self._codes,
        )

    def _read(self, text: str, answer: Span, truncated: bool) -> tuple[Fields, Decision]:
        """The named parts of the answer, and its outcome."""
        objects: list[Fields] = []
        if self._spec.where == "json-field" or (self._parts and self._spec.where != "line"):
            objects, problem = self._objects(text, answer, truncated)
            if self._spec.where == "json-field":
                stated = [item for item in objects if self._fields.keys() & item.keys()]
                if stated and stated[-1] is not objects[-1]:  # the last one counts, and it says nothing
                    problem = problem or "outcome_ambiguous"
                decision = (-1, problem, NOWHERE) if problem or not stated else self._agreed(stated)
                return (stated or objects or [{}])[-1], decision
        fields: Fields = objects[-1] if objects else {}
        cut = truncated and not self._spec.may_be_cut
        if self._spec.where == "line":
            fields, decision = self._lines(text, answer)
        elif self._pattern is not None:
            decision = self._same([self._code(value) for value in _matches(self._pattern, text, answer)])
        else:
            decision = self._first_word(text, answer)
        return fields, (-1, None, NOWHERE) if cut and decision[0] >= 0 else decision

    def _first_word(self, text: str, answer: Span) -> Decision:
        values = self._words.first(text, *answer)
        decision = self._same([self._code(value) for value in values])
        begin, end = decision[2]
        behind = text[end : answer[1]]
        quoted = quoting(text[answer[0] : begin]) and not trails(text, end + 1, answer[1])
        revoked = quoted or withdrawn(behind) or (decision[0] == 0 and accuses(behind))
        return (-1, "outcome_ambiguous", NOWHERE) if decision[0] >= 0 and revoked else decision

    def _revoked(self, outcome: int, prose: str) -> bool:
        """Whether the prose behind an outcome takes it back, or says another: in words, or with a label alone on a line."""
        alone = (self._words.first(line, 0, len(line))[:1] for line in prose.split("\n")[1:])
        said = {self._code(label)[0] for labels in alone for label in labels}
        return bool(said - {outcome}) or doubted(prose) or (outcome == 0 and accuses(prose))

    def _lines(self, text: str, answer: Span) -> tuple[Fields, Decision]:
        """The fields that stand as lines, and the outcome: none if another line, or the prose around them, says otherwise."""
        start, stop = answer
        fields: Fields = {}
        known: list[Span] = []
        others: list[Value] = []
        for name, value in read_lines(text, start, stop):
            if name in self._names:
                fields.setdefault(name, []).append(value)
            if name in self._names or name in self._beside:
                known.append(value[1])
            else:
                others.append(value)
        if not self._fields.keys() & fields.keys():
            return fields, (-1, None, NOWHERE)
        decision = self._decide(fields)
        first = text.rfind("\n", start, known[0][0]) + 1 or start
        before = text[start:first].split("\n")
        begin = next((place for place in range(first, stop) if text[place].isalnum()), first)
        if Prose(text).standing(start, begin) != "own" or any(map(speaker, before)):
            return fields, (-1, None, NOWHERE)
        said = {self._code(label)[0] for _, span in others for label in self._words.first(text, *span)}
        if decision[0] >= 0 and (said - {decision[0]} or self._revoked(decision[0], text[known[-1][1] : stop])):
            return fields, (-1, "outcome_ambiguous", NOWHERE)
        return fields, decision

    def _objects(self, text: str, answer: Span, truncated: bool) -> tuple[list[Fields], str | None]:
        """The fields of every object that is the answer's own, and why none can be taken.

        Where the spec refuses prose, nothing but a fence may stand around one object. An object that does not end, and any
        object of an answer that was cut off, is the answer's own only if nothing but blanks precede it: what comes behind may
        have said that it was quoted. One that stands aside, or follows as somebody else's, may contradict it, and prose may
        take it back, or be anything at all behind one that stands between sentences without being introduced.
        """
        start, stop = answer
        prose: Prose | None = None
        position = start
        own: list[Fields] = []
        aside: list[Fields] = []
        own_end, introduced = start, True
        items = read_objects(text, start, stop)
        if self._spec.prose == "refused" and items and not _stands_alone(text, answer, items):
            return [], "outcome_ambiguous"
        for item in items:
            first = leads(text, start, item.start)
            if not first and prose is None:
                prose = Prose(text)
            standing = "own" if prose is None else prose.standing(position, item.start)
            position = item.end
            if standing != "own" or (not first and (truncated or item.ending != "complete")):
                if truncated or item.ending != "complete":
                    return own, "answer_truncated" if truncated else "outcome_ambiguous" if own else None
                if standing == "aside" or (standing == "foreign" and own):
                    aside.append(self._own_fields(text, item, truncated))
                continue
            if truncated and item.ending == "complete" and not trails(text, item.end, stop):
                return [], "answer_truncated"
            own.append(self._own_fields(text, item, truncated))
            own_end, introduced = item.end, prose is None or prose.named
            if item.ending == "broken" and self._names_outcome(text[item.end : stop]):
                return own, "outcome_ambiguous"
        said_behind = own and WORD.search(text, own_end, stop)
        revoked = said_behind and (
            not introduced or self._taken_back(own[-1], items[-1], text[own_end:stop], text[position:stop])
        )
        contradicted = aside and self._contradicted(own, aside)
        return own, "outcome_ambiguous" if revoked or contradicted else None

    def _taken_back(self, own: Fields, last: Object, behind_own: str, behind_all: str) -> bool:
        """Whether what stands behind the answer's own last object, or behind the last one of all, may take back what it says."""
        if last.ending == "complete" and remarked(behind_own):
            return True
        # A key behind the last object belongs to an object that some quotation has closed before its end.
        keyed = self._keys.search(caseless(behind_all)) is not None
        return keyed or self._revoked(self._decide(own)[0], behind_own)

    def _contradicted(self, own: list[Fields], aside: list[Fields]) -> bool:
        """Whether what stands aside says something that the answer's own last object does not."""
        stated = [self._decide(item)[0] for item in own if self._fields.keys() & item.keys()]
        said = {self._decide(item)[0] for item in aside if self._fields.keys() & item.keys()}
        return bool(said - {-1, *stated[-1:]})

    def _own_fields(self, text: str, item: Object, truncated: bool) -> Fields:
        """The object's fields by name; in one that does not end, those before any text, which may have got out of its quotes."""
        fields: Fields = {}
        for key, value, span, bare in item.members:
            untrusted = item.ending != "complete" and not bare
            if key not in self._names:
                if untrusted:
                    break
                continue
            # A number or word that the end cut off may have gone on.
            cut = truncated and item.ending != "complete" and span[1] >= item.end
            category = key == self._parts.get("category")
            listed = value is None and category and item.ending == "complete"
            nothing = category and bare and value == "null"
            found = text[slice(*span)] if listed else None if cut or nothing else value
            fields.setdefault(key, []).append(None if found is None else (found, span))
            if untrusted and key == self._parts.get("rationale"):
                break
        return fields

    def _names_outcome(self, rest: str) -> bool:
        rest = caseless(rest)
        return any(name in rest for name in self._fields)

    def _agreed(self, objects: list[Fields]) -> Decision:
        """The outcome of the last object, if no earlier one has another."""
        outcome, problem, span = self._decide(objects[-1])
        others = {self._decide(item)[0] for item in objects[:-1]} - {-1, outcome}
        return (-1, "outcome_ambiguous", NOWHERE) if others and outcome >= 0 else (outcome, problem, span)

    def _decide(self, fields: Fields) -> Decision:
        """The outcome of all fields that it stands in: a violation if one says so, else what all say.

        A field that may be absent is so if it says "none".
        """
        decisions = [
            self._same([(-1, NOWHERE) if value is None else self._code(value) for value in fields[name]])
            for name, required in self._fields.items()
            if name in fields and (required or not all(map(_is_nothing, fields[name])))
        ]
        for decision in decisions:
            if decision[0] == 1:
                return decision
        if not decisions or any(required and name not in fields for name, required in self._fields.items()):
            return -1, None, NOWHERE
        worst = min(decisions, key=lambda decision: decision[0])
        if worst[0] < 0 or len(decisions) == 1:
            return worst
        # Several fields that all say no have no label of their own whose distribution would be the outcome's.
        return max(decision[0] for decision in decisions), None, NOWHERE

    def _same(self, codes: list[tuple[int, Span]]) -> Decision:
        """The code on which all of a label's occurrences agree; where they do not, nobody can act on the answer."""
        known = {code for code, _ in codes}
        if not known:
            return -1, None, NOWHERE
        if -1 in known:
            return -1, "outcome_unknown", NOWHERE
        return (*codes[0][:1], None, codes[0][1]) if len(known) == 1 else (-1, "outcome_ambiguous", NOWHERE)

    def _code(self, value: Value) -> tuple[int, Span]:
        text, span = value
        if self._spec.violation_at is None:
            return self._codes.get(caseless(text.strip()), -1), span
        score = _number(text)
        return (int(score >= self._spec.violation_at) if math.isfinite(score) else -1), span

    def _confidence(self, text: str, answer: Span, fields: Fields, truncated: bool) -> tuple[float, Span]:
        value = self._part("confidence", text, answer, fields)
        # A number that the end of a truncated answer cut off may have had more digits.
        if value is None or (truncated and value[1][1] == len(text)):
            return NAN, NOWHERE
        stated = self._confidence_words.get(caseless(value[0].strip()), NAN)
        if math.isnan(stated):
            stated = _number(value[0]) / self._spec.confidence_scale
        return (stated, value[1]) if 0.0 <= stated <= 1.0 else (NAN, NOWHERE)

    def _part(self, part: str, text: str, answer: Span, fields: Fields) -> Value | None:
        if part in self._parts:
            return next(iter(fields.get(self._parts[part], ())), None)
        if part in self._patterns:
            return next(iter(_matches(self._patterns[part], text, answer)), None)
        return None

    def _why_missing(self, text: str, answer: Span, refused: bool, truncated: bool) -> str:
        if refused or self._refusal.match(text, answer[0]):
            return "refusal"
        if not text.strip():
            return "empty_answer"
        return "answer_truncated" if truncated else "outcome_missing"


@lru_cache(maxsize=256)
def locator(spec: OutcomeSpec) -> Locator:
    """The compiled spec."""
    return Locator(spec)


def split_reasoning(text: str, forms: Reasoning) -> tuple[Span, bool]:
    """The characters of the answer without its reasoning, and whether it is certain where the reasoning ends."""
    opened = _openings(forms).match(text)
    if opened is None:
        return (0, len(text)), True
    closing = dict(forms)[opened[1]]
    end = text.rfind(closing)
    if end < 0:
        return (len(text), len(text)), False
    return (end + len(closing), len(text)), text.find(closing) == end


@lru_cache(maxsize=64)
def _openings(forms: Reasoning) -> re.Pattern[str]:
    openings = "|".join(re.escape(opening) for opening, _ in forms)
    return re.compile(rf"\s*+({openings})" if forms else r"(?!)")


def _stands_alone(text: str, answer: Span, items: list[Object]) -> bool:
    """Whether the text is one object, with nothing but blanks and a fence around it."""
    item, *others = items
    after = item.ending == "cut" or trails(text, item.end, answer[1])
    return not others and leads(text, answer[0], item.start) and after


def _matches(pattern: re.Pattern[str], text: str, answer: Span) -> list[Value]:
    start, stop = answer
    group = "label" if "label" in pattern.groupindex else 1
    return [
        (match[group], (start + match.start(group), start + match.end(group)))
        for match in pattern.finditer(text[start:stop])
        if match[group] is not None
    ]


def _is_nothing(value: Value | None) -> bool:
    return value is not None and caseless(value[0].strip()) in NOTHING


def _number(value: str) -> float:
    try:
        return float(value.strip().removesuffix("%"))
    except ValueError:
        return NAN
