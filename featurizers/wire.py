"""The providers' response bodies as typed structs: only the fields that some predictor needs; msgspec skips the rest.

One struct reads every provider's body, and the record around it, in a single pass: no field has two meanings among the
formats that could not be told apart by its JSON type. Structs are invisible to the garbage collector (`gc=False`), as
decoded JSON cannot hold cycles.
"""

from msgspec import UNSET, Raw, Struct, UnsetType, field


class Alternative(Struct, gc=False):
    """One candidate for a token's place. `logprob` in nats."""

    token: str = ""
    logprob: float | None = None


class Token(Struct, gc=False):
    """One emitted token. `bytes` stays undecoded: it is needed only where `token` is not the token's whole text."""

    token: str = ""
    logprob: float | None = None
    top_logprobs: list[Alternative] | None = None
    bytes: Raw = Raw(b"null")


class Logprobs(Struct, gc=False):
    """OpenAI chat (`content`, `refusal`) or legacy completions (the three parallel lists)."""

    content: list[Token] | None = None
    refusal: list[Token] | None = None
    tokens: list[str | None] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class FunctionCall(Struct, gc=False):
    """A call to a function: OpenAI gives `arguments` as a string of JSON, Gemini gives `args` as JSON."""

    arguments: str | None = None
    args: Raw = Raw(b"")


class Part(Struct, gc=False):
    """A piece of content: OpenAI responses, Anthropic, Gemini, or multi-part chat messages.

    `input` is what Anthropic calls a tool with; `thought` marks Gemini's summaries of its thinking.
    """

    type: str | None = None
    text: str | None = None
    thought: bool | None = None
    refusal: str | None = None
    logprobs: list[Token] | None = None
    input: Raw = Raw(b"")
    function_call: FunctionCall | None = field(default=None, name="functionCall")


class ToolCall(Struct, gc=False):
    """One tool call of an OpenAI chat message."""

    function: FunctionCall | None = None


class Message(Struct, gc=False):
    """The message of an OpenAI chat choice."""

    content: str | list[Part] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(Struct, gc=False):
    """One choice of an OpenAI chat or completions body."""

    message: Message | None = None
    text: str | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class OutputItem(Struct, gc=False):
    """One item of `output` in the OpenAI responses API."""

    type: str | None = None
    content: list[Part] | None = None
    arguments: str | None = None


class IncompleteDetails(Struct, gc=False):
    """Why an OpenAI response stopped early."""

    reason: str | None = None


class GeminiAlternative(Struct, gc=False):
    """One candidate token of Gemini."""

    token: str = ""
    logprob: float | None = field(default=None, name="logProbability")


class GeminiCandidates(Struct, gc=False):
    """The top candidates at one decoding step."""

    candidates: list[GeminiAlternative] | None = None


class LogprobsResult(Struct, gc=False, rename="camel"):
    """Gemini's log-probabilities: two lists with one entry a decoding step."""

    chosen_candidates: list[GeminiAlternative] | None = None
    top_candidates: list[GeminiCandidates] | None = None


class GeminiContent(Struct, gc=False):
    """The content of a Gemini candidate."""

    parts: list[Part] | None = None


class Candidate(Struct, gc=False, rename="camel"):
    """One candidate answer of Gemini."""

    content: GeminiContent | None = None
    finish_reason: str | None = None
    logprobs_result: LogprobsResult | None = None


class PromptFeedback(Struct, gc=False, rename="camel"):
    """Gemini's word on a blocked prompt."""

    block_reason: str | None = None


class Body(Struct, gc=False):
    """A response body of any provider."""

    model: str | None = None
    model_version: str | None = field(default=None, name="modelVersion")
    choices: list[Choice] | None = None
    output: list[OutputItem] | None = None
    incomplete_details: IncompleteDetails | None = None
    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = field(default=None, name="promptFeedback")
    content: str | list[Part] | None = None
    stop_reason: str | None = None


class Record(Body, gc=False):
    """A response record; `body` left out or null, the bare provider body with the record's own fields beside it."""

    request_id: str | int | None = None
    provider: str | None = None
    body: Body | str | UnsetType | None = UNSET
