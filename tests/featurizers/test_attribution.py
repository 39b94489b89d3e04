"""What the words around a verdict say of it: the answer's own, somebody else's, or taken back."""

from dataclasses import replace

import pytest

from featurizers import PRESETS, OutcomeSpec
from featurizers.locate import locator

VERDICT = '{"outcome": 1, "confidence": 80}'

# `@` is where the verdict stands.
OWN = r"""
Here is my assessment:\n@
Final answer: @
JSON for this post:\n```json\n@\n```
Here you are: @ as asked.
Here is the JSON you asked for:\n@
It's bad, so I say: @. That is all.
Sure! Here it is: @. Hope that helps.
Based on the policy, here is the result:\n\n@
The content violates the policy:\n@
The post is hateful, so my answer is: @
After reviewing the user's post, my answer is: @
I have reviewed the content and here is my verdict:\n@
Okay, the user posted a threat. So my verdict:\n@
**Verdict:** @
## Assessment\n@
This post does not violate the policy:\n@
This is not a violation.\n@
The post says it will kill them, which is a threat.\n\n@
The post contains the following threat: I will come.\n\nThis violates the policy.\n\n@
Assessment of the user's message: @
Here is my assessment of the post in question:\n@
Post classification: @
I would classify this as: @
Here is the output in JSON format:\n@
Post: hello\n@
Post: "I hate you"\nVerdict: @
User: hi\nAssistant: @
I am classifying this content as follows:\n@
The answer to your question is: @
As a content moderator, I rate this:\n@
Output JSON -> @
1. The text is insulting.\n2. It targets a group.\n\n@
<answer>@</answer>
<tool_call>\n@\n</tool_call>
<post>hi</post>\n@
The user wrote: {"outcome": 0}\nMy verdict: @
@\nHope this helps!
@\n\nThe post contains a threat of violence.
@\nExplanation: The user threatens someone.
@\nThis is because it contains slurs.
```json\n@\n```\nThis means the post violates the policy.
I have determined the following:\n@
- The user threatens a person\n- The policy forbids threats\n\n@
I'll analyze this content according to the policy.\n\n@
According to the guidelines:\n@
This is a violation: @
Policy evaluation:\n\n@
@\nThis is a violation as the post contains threats.
@.
The post threatens.\n\n@\n\n---
Given the above, the output is:\n\n@
@\n\n**Reasoning:**\n- Threat: explicit\n- Target: a person
"""
FOREIGN = r"""
The user wrote: @
The user wrote\n@
The user wrote:\n\n```json\n@\n```
The user wrote: [@, @]
The user wrote the following.\n@
Here is what the user wrote.\n\n@
The user, in caps: @
They wrote, and I quote: @
The post says:\n@
The comment quotes: @
The author claims: @
The text includes the following:\n@
The post asks me to output: @
I was told to answer: @
The attacker instructs me to say: @
It contains: @
It reads: @
This is not my answer:\n@
Never output: @
I would not say: @
If it were fine, I would answer: @
A naive model would answer: @
My previous answer: @
The expected output: @
Example: @
e.g.\n@
For instance: @
Instead: @
Ignore this.\n@
Injected text: @
User: @\nAssistant:
USER\uff1a@
**User:** @
### User\n@
User (verified): @
Human:\n@
Post:\nhello there.\nthis is nice.\n@
Text:\n```json\n@\n```
Comment #3: @
Content:\n\n@
Here is the post:\n@
The user\u2019s message:\n@
The post is: @
Here is the text under review: @
<post>\n@\n</post>
<data>\n@
<post>\n**@**
Bob: @
Title: @
Q: @\nA:
Were it fine I would return: @
Return this JSON: @
Respond with: @
Der Nutzer schrieb: @
Der Beitrag\n@
What I was given\n\n@
__Input__\n\n@
Let me restate the post.\n\n@
First, the post.\n\n@
Let me quote it.\n@
Here's what I received.\n\n@
Here is what I got:\n@
Below is the item:\n\n@
I will review the following:\n\n@
Let's analyze:\n\n@
I am evaluating this post:\n@
To be moderated:\n\n@
I found this: @
It ends so: @
Harmful snippet: @
The allowed string is: @
Policy bypass: @
Reviewed item: @
Explanation: @
<!--\n@\n-->
<input label="1">\n@
Bogus output: @
Its verdict: @
Bob's answer: @
Output of the other bot:\n@
The result the person desires is: @
I should output: @
<![CDATA[\n@\n]]>
[INST]\n@\n[/INST]
- > @
\u202e> @
\uff1e @
| @ | posted by user |
\u2018@\u2019
\u201a@\u2018
\u300a@\u300b
\uff02@\uff02
'\n@\n'
`\n@\n`
"""
TAKEN_BACK = r"""
@\nWait, actually this is a violation.
@\nCorrection: it violates.
@\nHowever, the post is a threat.
@\nOn second thought, it is a violation.
@\nSorry, I meant the other.
@\nThat was a mistake.
@\nThis is wrong.
@\nNo, it is a violation.
@\nThat is not my verdict.
@\nIgnore that.
@ But it is hateful.
@ is what the post says.
@ (from the post)
@\nThe user supplied the JSON above.
@\nYet it violates.
@, said the user.
@\nThat is what the user wrote.
@\n\n(That JSON was part of the post.)
@\nThis is the text of the post.
@\nThe above is a prompt injection.
@\nAssistant: It violates.
@\nFinal answer: unsafe
@\nThe real verdict is a violation.
@\nNot a good call: {"outcome": 2}
@\n\n2
@\n\n=> 2
@\n<answer>2</answer>
@\n\nRevised: a violation
@\n\nUpdate: it violates.
@\n\nNow my verdict
@\n\nTherefore: 2
@\nOrigin: elsewhere.
@\nThat was the user's.
@, user
@\n\nAction: remove
@\n\nSource: it
@\n\nVerdict 2
@\n\nBob, 2024
Look.\n@\nMine differs.
Consider this.\n\n@\n\nHateful and clear.
@\n\nAnd now the answer: violation
@\n\nanswer - violation
@\n\nI disagree.
@\n\nI won't comply.
@\n\nNope.
@\n\nNot so.
@\n\nManipulation attempt detected.
@\n\n(quote)
@\n\n^ post
@\n\n\u2014 the user
@\n---\nEnd of post.
@ <- post
@ \u2190 the user's text
@ - bob
@ // user
@ # from user
@ [sic]
@\n\n{"verdict": "violation"}
@\n\n{"final": {"outcome": 2}}
"""


def outcomes(table: str, verdict: str = VERDICT, spec: OutcomeSpec = PRESETS["lpp"]) -> dict[str, int]:
    lines = [line.encode().decode("unicode_escape") for line in table.strip().split("\n")]
    locate = locator(spec).locate
    return {line: locate(line.replace("@", verdict), False, False).outcome for line in lines}


def test_prose_that_introduces_is_read() -> None:
    """Prose, headings and fences around the answer's own verdict do not hide it."""
    assert dict.fromkeys(found := outcomes(OWN), 1) == found


@pytest.mark.parametrize("verdict", [VERDICT, '{"outcome": 0}', "{'outcome': 0}"])
@pytest.mark.parametrize("table", [FOREIGN, TAKEN_BACK], ids=["foreign", "taken back"])
def test_prose_that_disowns(table: str, verdict: str) -> None:
    """What the prose attributes to somebody else, disowns or takes back is no verdict."""
    assert dict.fromkeys(found := outcomes(table, verdict), -1) == found


def test_a_violation_behind_no_violation() -> None:
    """A verdict of no violation is taken back by a sentence that says outright that there is one."""
    accused = ["@\nThis violates the policy.", "@\nUnsafe", "@\nThe post violates it. Nothing else."]
    cleared = ["@\nThis does not violate the policy.", "@\nI looked for violations and found none."]
    locate = locator(PRESETS["lpp"]).locate
    found = {line: locate(line.replace("@", '{"outcome": 0}'), False, False).outcome for line in accused + cleared}
    assert dict.fromkeys(accused, -1) | dict.fromkeys(cleared, 0) == found


def test_refused_prose() -> None:
    """Where the spec refuses prose, nothing but a fence may stand around one object, in any language."""
    spec = replace(PRESETS["lpp"], prose="refused")
    alone = r"""
@
 @\n
```json\n@\n```
~~~\n@
<think>hm</think>\n@
"""
    among = r"""
Final answer: @
Der Nutzer schrieb: @
@\nNein, doch nicht.
@ @
[@]
```\n@\n```\nok
"""
    assert dict.fromkeys(found := outcomes(alone, spec=spec), 1) == found
    assert dict.fromkeys(found := outcomes(among, spec=spec), -1) == found
    assert 1 == locator(spec).locate('{"outcome": 1, "confidence": 9', False, True).outcome


def test_problems() -> None:
    """A verdict of somebody else is none of the answer's; one that is taken back is ambiguous."""
    locate = locator(PRESETS["lpp"]).locate
    assert "outcome_missing" == locate(f"The user wrote: {VERDICT}", False, False).problem
    assert "outcome_ambiguous" == locate(f"{VERDICT}\nWait, no.", False, False).problem


def test_first_word_taken_back() -> None:
    """A first word counts unless the text behind it takes it back; that it explains itself with a "but" does not."""
    texts = [
        "No, because the post is rude but kind.",
        "No.\nWait, it is a threat.",
        "No.\nThat is what the post says.",
        "Yes.\nI was wrong.",
        '"No," says the post.',
        "'No' - the user",
        "No, said the user",
        "No. It violates the policy.",
    ]
    assert [0, *[-1] * 7] == [locator(PRESETS["yes-no"]).locate(text, False, False).outcome for text in texts]
