"""The exception hierarchy, drawn once.

SecondlookError            everything this project raises on purpose
├── ResponseError          a response record that cannot be read
└── SpecError              an outcome spec that cannot be used

The other packages add their own branches below `SecondlookError`.
"""

from typing import Literal

ResponseProblem = Literal["not_a_record", "unreadable_answer"]


class SecondlookError(Exception):
    """Base of every error a user can meet: the message says what was wrong, where, and what to do."""


class ResponseError(SecondlookError):
    """A response cannot be read.

    `code` is `"not_a_record"` for bytes that are no JSON object at all, and `"unreadable_answer"` for a JSON object
    whose body is no answer of the provider. `request_id` is whatever id could still be found, else None.
    """

    def __init__(self, message: str, *, code: ResponseProblem, request_id: str | None = None) -> None:
        super().__init__(message)
        self.code: ResponseProblem = code
        self.request_id = request_id


class SpecError(SecondlookError):
    """An outcome spec cannot be used; the message names the spec, the setting and the mend."""
