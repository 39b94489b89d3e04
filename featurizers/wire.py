"""The providers' response bodies as typed structs: only the fields that some predictor needs; msgspec skips the rest.

One struct reads every provider's body, and the record around it, in a single pass: no field has two meanings among the
formats that could not be told apart by its JSON type. Structs are invisible to the garbage collector (`gc=False`), as
decoded JSON cannot hold cycles.
"""

from typing import Any

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
    """A list of tokens (`content`) or three parallel lists; servers use either under chat and under completions."""

    content: list[Token] | None = None
    refusal: list[Token] | None = None
    tokens: list[str | None] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float | None] | None] | None = None


class FunctionCall(Struct, gc=False):
    """A call to a function: OpenAI gives `arguments` as a string of JSON, Ollama as JSON; Gemini gives `args` as JSON."""

    arguments: str | dict[str, Any] | None = None
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
    camel_call: FunctionCall | None = field(default=None, name="functionCall")
    snake_call: FunctionCall | None = field(default=None, name="function_call")


class ToolCall(Struct, gc=False):
    """One tool call of an OpenAI chat message."""

    function: FunctionCall | None = None


class Message(Struct, gc=False):
    """The message of an OpenAI chat choice."""

    content: str | list[Part] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None


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
    """One candidate token of Gemini. Its client libraries write every name in snake case, here and below."""

    token: str = ""
    camel_logprob: float | None = field(default=None, name="logProbability")
    snake_logprob: float | None = field(default=None, name="log_probability")

    @property
    def logprob(self) -> float | None:
        """In nats."""
        return self.snake_logprob if self.camel_logprob is None else self.camel_logprob


class GeminiCandidates(Struct, gc=False):
    """The top candidates at one decoding step."""

    candidates: list[GeminiAlternative] | None = None


class LogprobsResult(Struct, gc=False):
    """Gemini's log-probabilities: two lists with one entry a decoding step."""

    camel_chosen: list[GeminiAlternative] | None = field(default=None, name="chosenCandidates")
    snake_chosen: list[GeminiAlternative] | None = field(default=None, name="chosen_candidates")
    camel_top: list[GeminiCandidates] | None = field(default=None, name="topCandidates")
    snake_top: list[GeminiCandidates] | None = field(default=None, name="top_candidates")


class GeminiContent(Struct, gc=False):
    """The content of a Gemini candidate."""

    parts: list[Part] | None = None


class Candidate(Struct, gc=False):
    """One candidate answer of Gemini."""

    content: GeminiContent | None = None
    camel_finish: str | None = field(default=None, name="finishReason")
    snake_finish: str | None = field(default=None, name="finish_reason")
    camel_logprobs: LogprobsResult | None = field(default=None, name="logprobsResult")
    snake_logprobs: LogprobsResult | None = field(default=None, name="logprobs_result")


class PromptFeedback(Struct, gc=False):
    """Gemini's word on a blocked prompt."""

    camel_reason: str | None = field(default=None, name="blockReason")
    snake_reason: str | None = field(default=None, name="block_reason")


class Body(Struct, gc=False):
    """A response body of any provider."""

    model: str | None = None
    camel_version: str | None = field(default=None, name="modelVersion")
    snake_version: str | None = field(default=None, name="model_version")
    choices: list[Choice] | None = None
    output: list[OutputItem] | None = None
    incomplete_details: IncompleteDetails | None = None
    candidates: list[Candidate] | None = None
    status: str | None = None
    camel_feedback: PromptFeedback | None = field(default=None, name="promptFeedback")
    snake_feedback: PromptFeedback | None = field(default=None, name="prompt_feedback")
    content: str | list[Part] | None = None
    stop_reason: str | None = None


class Record(Body, gc=False):
    """A response record, or a provider's bare body.

    A record has a `body`; where it is null, the record's own fields stand beside the provider's.
    """

    request_id: str | int | None = None
    provider: str | None = None
    body: Body | str | UnsetType | None = UNSET
