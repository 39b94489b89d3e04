"""Whose verdict it is by the words around it: the answer's own, somebody else's, or one that the answer takes back.

The words are English, and few. They are looked for in the clause that introduces a verdict, in the last heading before it,
and behind it. Where they are met the verdict does not count: at worst a human looks at an answer that meant it. Every search
takes time linear in the prose.
"""

import re

from featurizers.caseless import WORD, caseless

ANSWER_TAGS = (
    "answer|final|final[_ ]answer|output|result|response|json|verdict|decision|classification|assessment|tool[_ ]call"
)
_OF_ANSWER = rf"(?:{ANSWER_TAGS})"
_PEOPLE = r"(?:users?|humans?|authors?|posters?|writers?|senders?|commenters?|attackers?|customers?|system)"
_INPUTS = (
    r"(?:posts?|texts?|inputs?|contents?|messages?|comments?|conversations?|transcripts?|prompts?|requests?|(?<!in )questions?"
    r"|query|queries|tweets?|emails?|images?|captions?|documents?|excerpts?|submissions?|statements?|payloads?)"
)
_OWN = (
    r"(?:my|assistant|answers?|verdicts?|assessments?|decisions?|judge?ments?|classifications?|conclusions?|results?|outputs?"
    r"|responses?|json|labels?|ratings?|evaluations?|analysis|findings?|outcomes?|rulings?|determinations?|reason(?:s|ing)?"
    r"|rationale|explanation)"
)
_JUDGED = r"(?:violat|harm|hate|abus|threat|unsafe|toxic|offensive|spam|allow|accept|permit|ok|against|break|bad)"
_DISOWNING = re.compile(
    # Somebody else says it, or it is no verdict that holds.
    r"\b(?:(?:said|writ|wrote|posted|quot|contain|reads|claim|asks|tell|told|instruct|includ|replie|repeat|mention|submitted|sent\b|typed"
    r"|pasted|embed|insert|demand|want|tries|tried|attempt|suggest|copie|restat|reproduc|receiv|example|sample|otherwise|ignor"
    r"|disregard|inject|fake|forge|malicious|adversar|jailbreak|trick|untrusted|alleg|instead|alternativ|incorrect|wrong|mistak"
    r"|invalid|previous|earlier|former|initial|draft|expected|rejected|placeholder|template|schema)\w*"
    r"|(?<!\bi )(?<!\bi'd )(?<!\bi would )(?<!\bi'll )say|says|saying|asked (?:me|us|the|that|to)|hid(?:es|den)|order(?:s|ed)|cite[sd]?|copy"
    r"|state[sd]|i got|was given|their|his|hers?|someone|somebody|another|eg|for instance|such as|rather than|(?<!\bi )would|might|could"
    r"|(?:output|answer|response|reply) format|(?:respond|reply|return|print|output|use) (?:with|this|the following|only|exactly))\b"
    rf"|(?:\b(?:not|never|cannot|no|nor|neither)\b|n't\b)(?!\W+(?:\w+\W+){{0,2}}?{_JUDGED})"
    r"|\blike(?: this)?\W*\Z"
)
# What a line or a colon may introduce a verdict with: its name, or that it was reached. Whose it is behind any other words, nobody
# knows: a name, a title, what is yet to be judged ("I will review the following:"), another language.
_INTRODUCING = re.compile(
    rf"\b(?!(?:reason\w*|rationale|explanation|findings?)\b){_OWN}\b|\bas (?:requested|follows)\b|\bhere (?:you|it|we) (?:go(?:es)?|are|is)\b"
    r"|\b(?:based on|according to|per|under) (?:\w+ ){0,3}?(?:policy|policies|guidelines?|rules?)\b|\bin (?:conclusion|summary)\b"
    r"|\A\W*(?:here|so|therefore|thus|hence|finally|overall|sure|certainly|of course|okay|yes|done|got it)\W*\Z"
    r"|\b(?:i|we)(?:'d|'ve| would| have)?(?: \w+ly)? (?:rated?|judged?|classif(?:y|ied)|decided?|concluded?|determined?|flag(?:ged)?)\b"
    r"|\b(?:i|we)(?:'d|'ll| would| will)? (?:say|answer|output|return|respond)\b"
    rf"|<{_OF_ANSWER}>\W*\Z|\bviolates?\b|(?:\bis|'s)(?: (?!the\b)\w+){{0,2}} {_JUDGED}\w*(?: (?:speech|content))?\W*\Z"
)
# Every other word of what introduces must be one of these, too: no list of words that disown could be complete.
_AROUND_OWN = re.compile(
    rf"(?:{_OWN}|{_INPUTS}|{_JUDGED}\w*|a|an|the|this|that|these|i|we|you|your|our|it|is|are|was|be|been|am|do|does|not|no|has|have|had|would|will|think|tool|call"
    r"|'?[dsm]|'?ll|'?ve|here|below|following|follows|so|therefore|thus|hence|finally|final|overall|sure|certainly|of|course|okay|yes|done|got"
    r"|requested|required|please|find|see|for|on|in|to|with|by|as|based|according|per|under|about|regarding|given|above|and|after|go|goes|asked|ai"
    r"|policy|policies|guidelines?|rules?|format|structured|formatted|valid|complete|detailed|brief|corresponding|appropriate|correct|object|code"
    r"|content|moderator|moderation|safety|step|summary|question|speech|clear(?:ly)?|full|careful(?:ly)?|provided|\d+"
    r"|(?:review|evaluat|analy[sz]|assess|classif|judg|rat|decid|determin|conclud|flag|say|return|respond)\w*)"
)
_WORD = re.compile(r"[^\W_]+")
_ITEM = re.compile(r"\s*(?:[-*\u2022]|\d+[.)])\s")
_OWN_WORD = re.compile(rf"\b{_OWN}\b")
_PERSON = re.compile(rf"\b{_PEOPLE}\b")
# "JSON for this post", "the post's classification": what the verdict is about, not where it comes from.
_ABOUT = re.compile(
    rf"\b{_OWN}(?:\s+\w+){{0,2}}?\s+(?:for|of|on|about|regarding|concerning|to)\s+(?:[\w']+\s+){{0,3}}?{_INPUTS}\b"
    rf"|\b{_INPUTS}(?:'s)?\s+(?:(?:moderation|safety|policy|final)\s+)?(?:{_OWN}|moderat\w+)\b"
    rf"|\b(?:classif|assess|evaluat|review|judg|analy[sz]|moderat|examin)\w+\s+(?:the|this)\s+(?:\w+\s+)?{_INPUTS}\b"
)
_FROM_INPUT = re.compile(
    rf"\b{_INPUTS}\b(?!\s+(?:is|are|does|do|has|clearly|violates|breaks|promotes|threatens|attacks|insults|incites|seems|appears)"
    r"\s+(?!as\b|below\b|this\b|the following\b)\w)"
)
_NAMED = re.compile(
    rf"\A(?:[\w'-]+\s+){{0,3}}?(?:{_PEOPLE}|{_INPUTS})\b(?:\s+(?:to|of|from|by|in|for|under|being)\b.*)?[^a-z]*\Z"
)
_CONDITION = re.compile(r"\b(?:if|unless|suppos\w+|imagin\w+|pretend\w*|hypothetical\w*|were (?:it|i|this))\b")
# "..., so the answer is:" speaks for itself, whatever the sentence reported before.
_CLAUSE_END = re.compile(r"[,;]|\band\b|\s[-\u2013\u2014]\s")
_CONCLUDING = re.compile(r"\s*(?:(?P<surely>so|therefore|thus|hence)|i|my|the|here|final)\b")
_SENTENCE_END = re.compile(r"[.!?\u3002]['\"\u201d)\]*_]*\s+")
_OPENED = re.compile(rf"<(?!/|{_OF_ANSWER}>)[^<>\n]+>\W*\Z", re.IGNORECASE)  # a tag of something that is no answer
_FINISHED = re.compile(r"(?:[.!?\u3002]['\"\u201d)\]*_]*|</\w+>)\Z")
_POINTING = re.compile(
    r"\b(?:follow(?:s|ing)|below|here|next|this)\W*\Z|\b(?:follows|following|below|here)\b|\A\W*(?:this|ignore|disregard|first|let|here|i'll|i will)\b"
)
_HEADING = re.compile(
    r"^(?:(?:[^\w\n]|_)*+(?P<name>[^\W_][^\n:\uff1a.!?{}\"]{0,60})[:\uff1a](?P<value>[^\n]*)|#{1,6}[^\S\n]+(?P<title>[^\n]{1,60})$)",
    re.MULTILINE,
)
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")

_WITHDRAWING = re.compile(
    r"\b(?:wait|actually|correction|corrected|(?:second|further) thoughts?|(?:up)?on reflection|(?:scratch|strike|scrap) that|not really|kidding|hm+|never ?mind"
    r"|o+ps|whoops|hold on|reconsider\w*|retract\w*|withdraw\w*|take (?:it|that|this) back|chang(?:e|ed|ing) my mind|my mistake"
    r"|my bad|my error|nope|i disagree|i (?:won't|can't|cannot|will not|refuse)|not (?:so|true|correct|right)|untrue|manipulat\w*"
    r"|i was wrong|not my|not the answer|(?:wrote|said|posted|sent|quoted|claimed|supplied|provided|gave) (?:this|that|it|the (?:json|object|above)))\b"
    rf"|\bend of (?:the |this |that )?{_INPUTS}\b|\A\W*(?:says?|said|wrote|writes|claims?|according)\b"
    r"|(?:\A|(?<=[.!?\n]))[^\w.!?\n]*+(?:no\s*[,.:;!\u2013\u2014-]|(?:revised|updated?|edit(?:ed)?|amended)\b)"
)
_CONTRASTING = re.compile(
    r"\b(?:but|however|sorry|mistak\w+|wrong\w*|incorrect\w*|instead|although|though|rather|in fact|in truth|in reality"
    r"|apologi\w+|should (?:be|have)|nevertheless|nonetheless|still|yet|except|other hand|ignore|disregard|inject\w*|quot(?:e|ed|ing|ation))\b"
    # Another verdict, or another's turn to speak; the end of what was quoted in a tag; a remark beside it, or whose it is.
    r"|^(?!</)[^\w\n]*+(?:(?:the|final|correct(?:ed)?|real|actual|true|my|own|and|now|to)[^\S\n]+)*"
    r"(?:answer|verdict|decision|outcome|label|classification)(?:[^\S\n]+is\b|[^\w\n]*(?:[:=]|[^\S\n][\u2013\u2014-]|$))"
    r"|^[^\w\n]*+(?:user|human|assistant|system)\s*:"
    rf"|</(?!{_OF_ANSWER}>)\w|<{_OF_ANSWER}>|\[/\w|^[^\S\n]*+[\u2013\u2014\u2190^]|\A[^\S\n]*+(?:-|//|#|<-|\[|\|)",
    re.MULTILINE,
)
_POINTING_BACK = re.compile(
    r"(?:\A|(?<=[.!?\n]))[^\w.!?\n]*+(?:this|that|it|above|the)(?:\s+(?:above|json|object|verdict|answer|output|result|text)){0,2}"
    r"(?=\s+(?:is|was|are|were|came|comes|isn't|wasn't)\b|'s\b)(?!\S*\s+\w+\s+because)([^.!?\n]*)"
)
_OF_INPUT = re.compile(rf"\b(?:from|in|of|is|was) (?:the|a|this|that) (?:\w+ )?{_INPUTS}\b")
_VIOLATES = re.compile(r"\b(?:violat(?:es|ed|ing|ions?)|unsafe)\b")
_UNLESS = re.compile(
    r"\b(?:no|not|never|none|nor|neither|cannot|nothing|without|whether|if|any|would|could|might|free)\b|n't\b"
)
_NAME = re.compile(r"^(?:\*\*|__)?[^\W_][^\n:\uff1a.!?]{0,60}[:\uff1a]", re.MULTILINE)
_EXPLAINING = re.compile(
    r"explanation|reason|rationale|note|analysis|confidence|details|disclaimer|justification|policy"
)
_REASON = re.compile(r"\b(?:because|since|which|as)\b")
_GOES_ON = re.compile(r"[^\S\n]*+[`\"')\]*_]*+(?=[a-z,;:(\u2013\u2014-])[^.!?\n]*")


def speaker(prose: str) -> bool | None:
    """Whether the last heading of the prose is a person or an input whose words stand below it; None where none tells."""
    told = None
    for heading in _HEADING.finditer(prose):
        name = _plain(heading["name"] or heading["title"])
        if not WORD.search(heading["value"] or "") and _NAMED.match(_ABOUT.sub("", name)):
            told = True
        elif _OWN_WORD.search(name):
            told = False
    return told


def named(prose: str) -> bool:
    """Whether the prose before a verdict introduces it, and is not just a sentence above it."""
    return _FINISHED.search(prose.rstrip(" \t\n*_`")) is None


def disowned(prose: str, *, ended: bool) -> bool:
    """Whether the prose before a verdict says that it is not the answer's own: its last words, or a heading right above.

    `ended` says that the verdict begins a line of its own; "Post: ..." then ends with its own.
    """
    last = next(filter(WORD.search, reversed(prose.split("\n"))), "")
    above = list(_HEADING.finditer(prose, max((blank.end() for blank in _BLANK_LINE.finditer(prose)), default=0)))
    if above and _DISOWNING.search(_plain(above[-1]["name"] or above[-1]["title"])):
        return True
    heading = _HEADING.match(last) if ended else None
    told = heading is not None and WORD.search(heading["value"] or "") is not None
    introduction = heading["value"] if heading is not None and told else last
    return _OPENED.search(last) is not None or _disowns(introduction, listed=told or _ITEM.match(last) is not None)


def withdrawn(prose: str) -> bool:
    """Whether the prose behind a verdict takes it back, or says that it is somebody else's."""
    prose = _plain(prose)
    return _WITHDRAWING.search(prose) is not None or any(
        _DISOWNING.search(said) or _PERSON.search(said) or _OF_INPUT.search(said)
        for said in (_REASON.split(sentence[1], 1)[0] for sentence in _POINTING_BACK.finditer(prose))
    )


def doubted(prose: str) -> bool:
    """As `withdrawn`, and whether the prose so much as contrasts with the verdict, or goes on with its sentence."""
    if withdrawn(prose) or _CONTRASTING.search(_plain(prose)):
        return True
    going_on = _GOES_ON.match(prose)
    rest = "" if going_on is None else _plain(going_on[0])
    return any(found.search(rest) for found in (_DISOWNING, _PERSON, _OF_INPUT))


def remarked(prose: str) -> bool:
    """Whether something stands below an object that is no explanation of it: a value under another name, or an unfinished line."""
    last = next(filter(WORD.search, reversed(prose.split("\n"))), "")
    finished = _FINISHED.search(last.rstrip(" \t*_`)")) or _ITEM.match(last) or last.startswith("<")
    return not finished or any(not _EXPLAINING.search(caseless(name[0])) for name in _NAME.finditer(prose))


def accuses(prose: str) -> bool:
    """Whether some sentence says outright that there is a violation."""
    return any(
        _VIOLATES.search(said) and not _UNLESS.search(said) for said in re.split(r"[.!?\n]|\bbut\b", _plain(prose))
    )


def _disowns(line: str, *, listed: bool) -> bool:
    """What counts is the last sentence. One that is finished introduces nothing, unless it points at what follows.

    `listed`: it is an item of a list or a value behind a name, which need not be finished.
    """
    line = _plain(line).rstrip(" \t*_[")
    sentence = line[max((end.end() for end in _SENTENCE_END.finditer(line)), default=0) :]
    finished = _FINISHED.search(sentence) is not None
    if finished and not _POINTING.search(sentence.rstrip(".!? ")):
        return False
    clause = sentence[max((end.end() for end in _CLAUSE_END.finditer(sentence)), default=0) :]
    introduces = sentence.endswith((":", "=", "->", "=>")) or not (finished or listed)
    if _CONDITION.search(sentence) or (introduces and not _INTRODUCING.search(sentence)):
        return True
    concluding = _CONCLUDING.match(clause)
    if concluding is None or not (concluding["surely"] or _OWN_WORD.search(clause)):
        clause = sentence
    source = _ABOUT.sub("", clause)
    if introduces and not all(map(_AROUND_OWN.fullmatch, _WORD.findall(source))):
        return True
    return any(found.search(source) for found in (_DISOWNING, _PERSON, _FROM_INPUT))


def _plain(prose: str) -> str:
    return caseless(prose).replace("\u2019", "'").replace("e.g.", "eg").replace("i.e.", "ie").replace("_", " ")
