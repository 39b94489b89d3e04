"""The exception hierarchy, drawn once.

SecondlookError            everything this project raises on purpose
├── ResponseError          a response record that cannot be read
└── SpecError              an outcome spec that cannot be used

The other packages add their own branches below `SecondlookError`.
"""


class SecondlookError(Exception):
    """Base of every error a user can meet: the message says what was wrong, where, and what to do."""
