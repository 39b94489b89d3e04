"""What an error of the Kafka client means, and what to do: told here, so that every command and the worker say the same.

Of a broker that it does not reach the client says why only beside its calls, which then time out: an `Ear` hears that.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from confluent_kafka import KafkaError

from streams.errors import BrokerError, DeniedError
from streams.kafka.client_log import client_log

DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
"""Errors that are a missing right."""
SILENT: Final = frozenset(
    {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE}  # noqa: SLF001 - public names
)
"""Errors that tell nothing of what was asked: nobody answered."""
DOCTOR: Final = "(secondlook doctor says what gives it)"

_QUOTED_SECRET: Final = re.compile(r"(sasl\.oauthbearer\.config)\b.*", re.DOTALL)
"""The one secret that the client quotes in what it says: the part of it that it does not understand."""
_ADDRESS: Final = re.compile(r"(?:^|\s)(?:\w+://)?([^\s/]+:\d+)/\w+: ")
"""Where the client's words name a broker."""


class Kind(NamedTuple):
    """A kind of trouble: its name, by which words of the client it is known, and what it means."""

    name: str
    words: re.Pattern[str]
    meaning: str
    is_final: bool = True
    """Whether waiting does not mend it."""


def _kind(name: str, words: str, meaning: str, *, is_final: bool = True) -> Kind:
    return Kind(name, re.compile(words, re.IGNORECASE), meaning, is_final)


KINDS: Final = (
    _kind(
        "sasl-mechanism",
        r"supported mechanisms|unsupported sasl mechanism|current sasl state|sasl handshake not supported",
        "the broker does not take this sasl.mechanism there, or wants no login on that port",
    ),
    _kind(
        "login",
        r"invalid credentials|authentication failed|sasl authentication error",
        "the broker refuses the login: sasl.username, sasl.password and sasl.mechanism must be those of a user that it knows",
    ),
    _kind(
        "certificate",
        r"certificate verify failed|could not be verified|self.signed|local issuer",
        "the broker's certificate is not trusted: ssl.ca.location must be the file of the CA that signed it, and the "
        "certificate must be for the name in the address",
    ),
    _kind(
        "client-certificate",
        r"client ssl authentication|certificate required|bad certificate",
        "the broker wants a certificate of this client: ssl.certificate.location and ssl.key.location",
    ),
    _kind(
        "plaintext-port",
        r"plaintext broker listener|wrong version number|packet length too long|record layer failure|ssl handshake failed",
        "the port does not speak TLS, and security.protocol wants it: take the port that does, or PLAINTEXT (SASL_PLAINTEXT)",
    ),
    _kind(
        "tls-port",
        r"ssl listener|invalid response size 352|closed by peer.*state apiversion",
        "the port hangs up: it speaks TLS (set security.protocol to SSL or SASL_SSL, or take the port without TLS), or no Kafka, "
        "or is a proxy with no broker behind it yet",
    ),
    _kind(
        "login-wanted",
        r"might require sasl|closed by peer.*state up",
        "the broker hangs up on a client without a login: set security.protocol (SASL_SSL or SASL_PLAINTEXT), sasl.mechanism, "
        "sasl.username and sasl.password",
        is_final=False,
    ),
    _kind(
        "refused",
        r"connection refused",
        "nothing listens there: is the broker running, is the port right?",
        is_final=False,
    ),
    _kind(
        "name",
        r"failed to resolve|host resolution",
        "no machine is known by that name: is it written right, is it known to this machine's DNS?",
        is_final=False,
    ),
    _kind(
        "no-way",
        r"timed out in state connect|setup timed out|no route|unreachable|connection timed out",
        "the machine does not answer: is the address right, does a firewall stand between?",
        is_final=False,
    ),
)


class Trouble(NamedTuple):
    """Why a broker is not reached."""

    kind: Kind
    address: str

    @property
    def text(self) -> str:
        """In words, with what to look at."""
        return f"{self.address}: {self.kind.meaning}" if self.address else self.kind.meaning


def trouble_of(said: str) -> Trouble | None:
    """What keeps a broker from being reached, if the client's words say that."""
    kind = next((one for one in KINDS if one.words.search(said)), None)
    if kind is None:
        return None
    address = _ADDRESS.search(said)
    return Trouble(kind, address[1] if address else "")


class Ear:
    """A client's `error_cb` and its logger: logs what it says of its connections, and remembers why it reaches nobody.

    The client mends such troubles itself, or fails the call that needs the broker. Some it only logs. `has_login`: it has one, so
    that none is wanted of it.
    """

    def __init__(self, *, has_login: bool = False) -> None:
        self.trouble: Trouble | None = None
        self._has_login = has_login

    def __call__(self, error: KafkaError) -> None:
        """Hear an error."""
        self.hear(error.str())
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self.trouble is not None:  # noqa: SLF001 - its public name
            return  # it has said why already
        client_log.warning("kafka: %s", told(error), extra={"code": error.name()})

    def log(self, level: int, message: str, *args: object) -> None:
        """Hear a line of its log."""
        self.hear(message % args)
        client_log.log(level, message, *args)

    def hear(self, said: str) -> None:
        """Remember what it says, if that is why."""
        trouble = trouble_of(said)
        if trouble is not None and not (self._has_login and trouble.kind.name == "login-wanted"):
            self.trouble = trouble


class Aside:
    """The logger of a client whose own lines would only repeat, less clearly, what the errors raised here say."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear

    def log(self, _level: int, message: str, *args: object) -> None:
        """Hear it, and log nothing."""
        self._ear.hear(message % args)


def heard(config: Mapping[str, object]) -> Trouble | None:
    """Why a client of this configuration reaches nobody, as far as it has said so."""
    ear = config.get("error_cb")
    return ear.trouble if isinstance(ear, Ear) else None


def told(error: KafkaError, right: str = "") -> str:
    """What an error means. `right` is what it takes, in words: "Read moderation.control"."""
    if error.code() in DENIED:
        what = f"the right to {right}" if right else f"a right ({error.str()})"
        return f"this user lacks {what} {DOCTOR}"
    trouble = trouble_of(error.str())
    if trouble is not None:
        return trouble.text
    said = _QUOTED_SECRET.sub(r"\1 ***", error.str()).strip()
    return f"{said} {error.name()}".lstrip() if said.endswith(":") or not said else said


def failed(doing: str, error: KafkaError, right: str = "") -> BrokerError:
    """The error to raise where the client failed at something, which `doing` says; a DeniedError where a right is missing."""
    kind = DeniedError if error.code() in DENIED else BrokerError
    return kind(f"{doing}: {told(error, right)}")


def no_answer(config: Mapping[str, object], timeout: float, error: KafkaError) -> BrokerError:
    """The error of brokers that do not answer, with the reason where the client said one."""
    trouble = heard(config) or trouble_of(error.str())
    where, said = config["bootstrap.servers"], _QUOTED_SECRET.sub(r"\1 ***", error.str())
    if trouble is not None:
        return BrokerError(f"no Kafka broker answered at {where}. {trouble.text}")
    return BrokerError(
        f"no Kafka broker answered at {where} within {timeout:g} s ({said}): "
        "is the address right, is the broker running, do the security settings match?"
    )
