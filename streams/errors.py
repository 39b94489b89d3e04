"""The errors of the stream, below the project's one base exception.

SecondlookError              (featurizers.errors)
└── StreamError              anything that stops a worker or a command
    ├── SettingsError        a setting that is unknown, missing or malformed
    ├── TopicError           topics that are missing or do not fit together
    ├── BrokerError          a broker that cannot be reached or refuses
    │   ├── DeniedError      this user lacks a right
    │   └── MembershipError  the group has shut this client out for good: another one may join
    ├── ControlError         a control message that cannot be applied (the last good one stays in force)
    ├── ChangelogError       a changelog record of ours that this version cannot read
    ├── DataLossError        records or state that are gone from Kafka: the operator decides whether to go on
    ├── OwnerError           topics that another consumer group works on
    ├── TokenError           who asks the console for a change may not
    ├── LetterError          a dead letter that is not there, or has no value
    └── DeliveryError        a batch that cannot be committed: the worker stops, a restart redoes it
        └── DeliveryStopped  the worker was told to stop before the batch could be committed: no failure
"""

from featurizers import SecondlookError


class StreamError(SecondlookError):
    """Something that stops a worker or a command."""


class SettingsError(StreamError):
    """A setting is unknown, missing or malformed; the message names it and what it may be."""


class TopicError(StreamError):
    """Topics are missing or do not fit together; the message says how to mend it."""


class BrokerError(StreamError):
    """A broker cannot be reached or refuses what was asked."""


class DeniedError(BrokerError):
    """This user lacks a right; the message names it. Asking again does not mend it."""


class MembershipError(BrokerError):
    """The group has shut this client out for good; another client may join in its place."""


class ControlError(StreamError):
    """A control message cannot be applied; what was in force stays in force. `code` says why in a word, for the metrics."""

    exit_code = 4

    def __init__(self, message: str, code: str = "invalid") -> None:
        super().__init__(message)
        self.code = code


class ChangelogError(StreamError):
    """A changelog record of ours cannot be read; the message says where it stands and why."""


class DataLossError(StreamError):
    """Records or state that a partition relies on are gone; the message says which, and how to go on without them."""


class OwnerError(StreamError):
    """The pipeline's topics are another consumer group's; the message says how to take them over."""


class TokenError(StreamError):
    """Who asks the console for a change has not the token."""


class LetterError(StreamError):
    """A dead letter that was asked for is not there, or has no value."""


class DeliveryError(StreamError):
    """A batch cannot be committed; the worker stops without committing and a restart redoes it."""


class DeliveryStopped(DeliveryError):  # noqa: N818 - no failure
    """The worker was told to stop while a batch waited for the broker; nothing of it is committed."""
