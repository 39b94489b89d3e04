"""Settings: one declarative table from which come validation, the CLI's options and the docs page.

Sources, in order of rising precedence: environment variables (`SECONDLOOK_` + name), a TOML file, CLI flags.
Options of the Kafka client pass through to librdkafka under their own names.
"""

import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from streams.errors import SettingsError

PREFIX: Final = "SECONDLOOK_"
KAFKA_PREFIX: Final = "SECONDLOOK_KAFKA_"
_MOST_OF_A_PREFIX: Final = 200
"""Characters: Kafka takes names of 249, and ours come after it."""
_MODELS: Final = Path("models")
_LEGAL: Final = re.compile(r"[A-Za-z0-9._-]*")
"""What Kafka takes in a topic's name. Groups and instances keep to it too: transactional ids are put together of them."""
_NOT_SETTINGS: Final = frozenset(
    PREFIX + name
    for name in (
        *("NATIVE", "CACHE", "ISSUED_BY", "SIGN_WITH", "CONSOLE_TOKEN", "CONSOLE_TOKEN_FILE"),
        *(
            "TEST_BROKER",
            "REQUIRE_KAFKA",
            "REQUIRE_NATIVE",
            "REQUIRE_CHROMIUM",
            "REQUIRE_PROMETHEUS",
            "REQUIRE_KUBECTL",
        ),
        *("FUZZED_BODIES", "FUZZ_SEED"),
    )
)
"""Variables that are read elsewhere: by the featurizers, `secondlook control` and `console`, the local Kafka and this project's tests."""
_SERVICE_LINK: Final = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""What Kubernetes and Docker tell every container of a service called secondlook, or secondlook-something."""
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")
"""How the value of `<service>_PORT` begins there: of secondlook-web, that is the variable of our own `web_port`."""
_SECRET_PARTS: Final = (
    "password",
    "passphrase",
    "secret",
    "key.pem",
    "token",
    "jaas",
    "assertion",
    "oauthbearer.config",
)
_FILES: Final = frozenset(f"sasl.oauthbearer.assertion.{name}.file" for name in ("private.key", "jwt.template"))
"""Options of the client's own that end like ours for secrets in files."""


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError("must be a number, without its unit") from None
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    if value <= 0:
        raise ValueError("must be above 0")
    return value


def _commit_linger(text: str) -> float:
    if (value := _positive(text)) > 1:
        raise ValueError("must be at most 1: whatever takes partitions away, or ends a worker, waits for it too")
    return value


def _whole(least: int, most: float = math.inf, few: str = "", many: str = "") -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if value < least:
            raise ValueError(few or f"must be {least} or more")
        if value > most:
            raise ValueError(many)
        return value

    return parse


_count = _whole(1)
_offset = _whole(0)
_batch_size = _whole(1, 1_000_000, many="must be at most 1000000: the Kafka client gives no more at once")
_NO_PORT: Final = "must be a port, 0 to 65535 (0: no pages)"
_port = _whole(0, 65535, _NO_PORT, _NO_PORT)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def _name(text: str) -> str:
    if not text or text != text.strip():
        raise ValueError("must not be empty or padded with blanks")
    return text


def _legal_name(text: str) -> str:
    if not text or not _LEGAL.fullmatch(text):
        raise ValueError("must be of letters (a to z), digits, '.', '_' and '-'")
    return text


def _topic_prefix(text: str) -> str:
    if not _LEGAL.fullmatch(text) or len(text) > _MOST_OF_A_PREFIX:
        raise ValueError(
            "Kafka takes only letters (a to z), digits, '.', '_' and '-' in a topic's name, and of a prefix at most "
            f"{_MOST_OF_A_PREFIX}"
        )
    return text


def _setting(default: Any, parse: Callable[[str], Any], unit: str, text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "unit": unit, "help": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """Validated settings. The field list is the one table of settings: names, defaults, units and meanings.

    A field's name is its TOML key, its flag (with dashes) and, in capitals after the prefix, its environment variable.
    """

    broker: str = _setting("127.0.0.1:9092", _name, "host:port, ...", "Kafka's bootstrap servers.")
    group: str = _setting("secondlook", _legal_name, "", "Consumer group; the workers of a group share the partitions.")
    instance_id: str | None = _setting(
        None,
        _legal_name,
        "",
        "Stable name of this worker (a pod's name): its partitions are kept and its transactions fenced across a "
        "restart. Without one, a new name is made at every start.",
    )
    delivery: str = _setting(
        "exactly_once",
        _one_of("exactly_once", "at_least_once"),
        "",
        "`exactly_once`: by Kafka transactions. `at_least_once`: for brokers without them.",
    )
    topic_prefix: str = _setting(
        "",
        _topic_prefix,
        "",
        "Put before the name of every topic and of the group, to run several pipelines on one cluster.",
    )
    model: Path = _setting(_MODELS, Path, "path", "Model directory as written by `secondlook train`.")  # noqa: RUF009 - a field like the others
    outcome_spec: str = _setting(
        "lpp", _name, "", "How the outcome stands in the LLM's answer: a preset's name or a TOML file."
    )
    specs: Path | None = _setting(  # noqa: RUF009 - as above
        None,
        Path,
        "path",
        "Directory of outcome specs, in place of `outcome_spec`: each answer is read by the first whose `match` fits it.",
    )
    cost_review: float = _setting(0.64, _positive, "any currency", "Cost of one human review.")
    cost_mistake: float = _setting(1.0, _positive, "same currency", "Cost of acting on one wrong verdict.")
    cost_accounting: str = _setting(
        "false-discovery",
        _one_of("false-discovery", "review-charged"),
        "",
        "How the costs give the threshold that holds until a control message sets another.",
    )
    response_timeout: float = _setting(60.0, _positive, "s", "How long a request waits for its response.")
    dedup_window: float = _setting(600.0, _positive, "s", "How long a decided request is remembered.")
    max_pending: int = _setting(
        1_000_000, _count, "records", "Waiting records (requests and responses) at which reading pauses."
    )
    max_pending_bytes: int = _setting(
        2**28,
        _count,
        "bytes",
        "Most bytes that waiting records may take in memory, overheads included. Reading pauses at three quarters; beyond the "
        "whole, the oldest waiting records are decided (`store_full`).",
    )
    max_remembered: int = _setting(
        500_000,
        _count,
        "ids",
        "Most decided requests that are remembered (about 130 bytes each); beyond it the oldest are forgotten early.",
    )
    batch_size: int = _setting(
        2000,
        _batch_size,
        "records",
        "Most records in one batch, which 4 MiB fill too. A transaction may hold several batches.",
    )
    batch_linger: float = _setting(0.01, _positive, "s", "How long a batch may wait to fill.")
    commit_linger: float = _setting(
        0.2,
        _commit_linger,
        "s",
        "How long after it was read a batch may wait for those behind it, to be committed together. Only a full one with more to "
        "read behind it waits: while reading can't keep up, larger transactions cost less. At most 1.",
    )
    max_record_bytes: int = _setting(
        2 * 2**20,
        _count,
        "bytes",
        "Largest record produced. Input records are let in up to 16 KiB less; how large ones may be sent is the input topics' `max.message.bytes`, "
        "which is the brokers' 1 MiB unless you raise it.",
    )
    transaction_timeout: float = _setting(
        15.0, _positive, "s", "After which the broker aborts a dead worker's transaction."
    )
    restore_timeout: float = _setting(
        60.0, _positive, "s", "How long taking partitions over waits for offsets or a changelog that do not come."
    )
    on_data_loss: Literal["stop", "continue"] = _setting(
        "stop",
        _one_of("stop", "continue"),
        "",
        "When unread records or the changelog are gone from Kafka: `stop` and say so, or count them and `continue`.",
    )
    new_group_from: Literal["earliest", "latest", "state"] | None = _setting(
        None,
        _one_of("earliest", "latest", "state"),
        "",
        "Where a group begins that has no offsets. It also lets it take over the topics of another group that has stopped: "
        "from where that one was (`state`), or from an end of the log.",
    )
    control_timeout: float = _setting(
        60.0,
        _positive,
        "s",
        "How long the control topic may not be readable to its end before everything goes to humans: nobody knows then what is in force.",
    )
    control_keys: Path | None = _setting(  # noqa: RUF009 - as above
        None,
        Path,
        "path",
        "File of the public keys whose control messages count, one a line, as `secondlook control keygen` prints them. Without it every message counts.",
    )
    control_signed_from: int = _setting(
        0,
        _offset,
        "offset",
        "With `control_keys`: the offset in the control topic from which on messages must be signed; what stands before it counts as it is.",
    )
    control_sign_with: Path | None = _setting(  # noqa: RUF009 - as above
        None,
        Path,
        "path",
        "With `control_keys`: file of the private key (`secondlook control keygen`) with which a worker signs the moves of review budgets, and stops. Without it none is moved, and nothing is stopped.",
    )
    on_risk_breach: Literal["alert", "stop"] = _setting(
        "alert",
        _one_of("alert", "stop"),
        "",
        "When audits show that more is wrong than a risk bound in force allows: `alert`, or `stop` automation of its scope too, once for each bound.",
    )
    drain_timeout: float = _setting(
        20.0, _positive, "s", "How long SIGTERM or a rebalance waits for batches in flight."
    )
    stall_timeout: float = _setting(
        60.0, _positive, "s", "Lag without any commit, or a poll that does not come back, for this long fails /live."
    )
    web_host: str = _setting("127.0.0.1", _name, "", "Address of /metrics, /live and /ready.")
    web_port: int = _setting(6066, _port, "", "Port of /metrics, /live and /ready; 0 for none.")
    traces: Literal["off", "otlp"] = _setting(
        "off",
        _one_of("off", "otlp"),
        "",
        "`otlp`: an OpenTelemetry span per batch, linked to its records' `traceparent`, sent as the `OTEL_*` variables say. Needs the extra `otel`.",
    )
    log_level: str = _setting("info", _one_of("debug", "info", "warning", "error"), "", "Least level logged.")
    kafka: Mapping[str, str] = field(default_factory=dict)

    def masked(self) -> dict[str, Any]:
        """All settings for the log, secrets masked."""
        plain = {setting.name: getattr(self, setting.name) for setting in SETTINGS}
        kafka = {name: "***" if is_secret(name) else value for name, value in self.kafka.items()}
        return {**plain, "model": str(self.model), "kafka": kafka}


SETTINGS: Final = tuple(setting for setting in fields(Settings) if setting.name != "kafka")

_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


def flag(setting: "Field[Any]") -> str:
    """The command-line option of a setting."""
    return "--" + setting.name.replace("_", "-")


def default_text(setting: "Field[Any]") -> str:
    """The default as help and docs show it; nothing where there is none."""
    return "" if setting.default in (None, "") else str(setting.default)


def is_secret(name: str) -> bool:
    """Whether a Kafka client option must not be logged."""
    return any(part in name.lower() for part in _SECRET_PARTS)


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    kafka_flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Merge and validate the three sources. Raises SettingsError naming the source and what the value may be."""
    values: dict[str, Any] = {}
    kafka: dict[str, str] = {}
    for variable, text in _ours(environ):
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(KAFKA_PREFIX):
            _put_kafka(kafka, variable.removeprefix(KAFKA_PREFIX).lower().replace("_", "."), text, variable)
        else:
            values[name] = _parse(name, text, variable)
    for name, value in _read_file(file).items():
        if name == "kafka" and isinstance(value, dict):
            for option, text in _options(value):
                _put_kafka(kafka, option.replace("_", "."), text, f"{file}: kafka.{option}")
        else:
            values[name] = _parse(name, value, f"{file}: {name}")
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = _parse(name, value, flag(_BY_NAME[name]) if name in _BY_NAME else name)
    for option, text in (kafka_flags or {}).items():
        _put_kafka(kafka, option, text, f"-X {option}")
    return Settings(**values, kafka=kafka)


def _ours(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables that are meant for us: all of our prefix, but for those that others own."""
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in _NOT_SETTINGS or _SERVICE_LINK.fullmatch(variable):
            continue
        if variable.endswith("_PORT") and _SERVICE_ADDRESS.match(text):
            continue
        yield variable, text


def _options(table: Mapping[str, Any], parent: str = "") -> Iterator[tuple[str, str]]:
    """The Kafka options of a TOML table; one whose name is not quoted stands there as tables in tables."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _options(value, f"{parent}{name}.")
        else:
            yield parent + name, str(value)


def _parse(name: str, value: Any, where: str) -> Any:
    setting = _BY_NAME.get(name)
    if setting is None:
        raise SettingsError(f"{where}: no such setting; {_advice(name, value, where)}")
    if isinstance(value, list | dict):
        raise SettingsError(f"{where} = {value!r}: must be one text or number ({setting.metadata['help']})")
    try:
        return setting.metadata["parse"](str(value))
    except ValueError as problem:
        raise SettingsError(f"{where} = {value!r}: {problem} ({setting.metadata['help']})") from None


def _advice(name: str, value: Any, where: str) -> str:
    if name == "kafka" or isinstance(value, dict):
        return "settings stand at the top of the file, and [kafka] is its only table"
    similar = get_close_matches(name, _BY_NAME, n=1, cutoff=0.8)
    meant = [PREFIX + one.upper() if where.startswith(PREFIX) else one for one in similar]
    return "".join(f"is {one} meant? " for one in meant) + "`secondlook settings` lists them"


def _put_kafka(kafka: dict[str, str], option: str, text: str, where: str) -> None:
    """`<option>.file` reads the value from a file, as mounted secrets are."""
    if not option.endswith(".file") or option in _FILES:
        kafka[option] = text
        return
    try:
        kafka[option.removesuffix(".file")] = Path(text).read_text().strip()
    except OSError as problem:
        raise SettingsError(f"{where} = {text!r}: cannot read the secret: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{where} = {text!r}: cannot read the secret: it is not text in UTF-8") from None


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text())
    except OSError as problem:
        raise SettingsError(f"{file}: cannot read the settings: {problem.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{file}: not TOML: {problem}") from None


def settings_markdown() -> str:
    """The table of the docs page."""
    rows = ["| setting | environment | default | unit | what it does |", "|---|---|---|---|---|"]
    for setting in SETTINGS:
        default = f"`{text}`" if (text := default_text(setting)) else ""
        variable, about = PREFIX + setting.name.upper(), setting.metadata
        rows.append(f"| `{setting.name}` | `{variable}` | {default} | {about['unit']} | {about['help']} |")
    return "\n".join(rows)
