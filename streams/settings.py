"""Settings: one declarative table from which come validation, the CLI's options and the docs page.

Sources, in order of rising precedence: environment variables (`SECONDLOOK_` + name), a TOML file, CLI flags.
Options of the Kafka client pass through to librdkafka under their own names.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from streams.errors import SettingsError

PREFIX: Final = "SECONDLOOK_"
KAFKA_PREFIX: Final = "SECONDLOOK_KAFKA_"
_LAST_PORT: Final = 65535
_MOST_FETCHED: Final = 1_000_000
_MODELS: Final = Path("models")
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


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("must be above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("must be 1 or more")
    return value


def _batch_size(text: str) -> int:
    value = _count(text)
    if value > _MOST_FETCHED:
        raise ValueError(f"must be at most {_MOST_FETCHED}: the Kafka client gives no more at once")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= _LAST_PORT:
        raise ValueError("must be a port, 0 to 65535 (0: no pages)")
    return value


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


def _setting(default: Any, parse: Callable[[str], Any], unit: str, text: str) -> Any:
    return field(default=default, metadata={"parse": parse, "unit": unit, "help": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """Validated settings. The field list is the one table of settings: names, defaults, units and meanings.

    A field's name is its TOML key, its flag (with dashes) and, in capitals after the prefix, its environment variable.
    """

    broker: str = _setting("127.0.0.1:9092", _name, "host:port, ...", "Kafka's bootstrap servers.")
    group: str = _setting("secondlook", _name, "", "Consumer group; the workers of a group share the partitions.")
    instance_id: str | None = _setting(
        None,
        _name,
        "",
        "Stable name of this worker (a pod's name): its partitions are kept and its transactions fenced across a "
        "restart. Without one, a new name is made at every start.",
    )
    delivery: str = _setting(
        "exactly_once",
        _one_of("exactly_once", "at_least_once"),
        "",
        "`exactly_once`: one Kafka transaction per batch. `at_least_once`: for brokers without transactions.",
    )
    topic_prefix: str = _setting("", str, "", "Put before every topic name, to run several pipelines on one cluster.")
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
        "Most decided requests that are remembered (about 180 bytes each); beyond it the oldest are forgotten early.",
    )
    batch_size: int = _setting(500, _batch_size, "records", "Most records in one batch (and transaction).")
    batch_linger: float = _setting(0.01, _positive, "s", "How long a batch may wait to fill.")
    max_record_bytes: int = _setting(2 * 2**20, _count, "bytes", "Largest record produced.")
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
    drain_timeout: float = _setting(
        20.0, _positive, "s", "How long SIGTERM or a rebalance waits for batches in flight."
    )
    stall_timeout: float = _setting(60.0, _positive, "s", "Lag without any commit for this long fails /live.")
    web_host: str = _setting("127.0.0.1", _name, "", "Address of /metrics, /live and /ready.")
    web_port: int = _setting(6066, _port, "", "Port of /metrics, /live and /ready; 0 for none.")
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
    return any(part in name for part in _SECRET_PARTS)


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
    for variable, text in environ.items():
        if variable.startswith(KAFKA_PREFIX):
            _put_kafka(kafka, variable.removeprefix(KAFKA_PREFIX).lower().replace("_", "."), text, variable)
        elif variable.startswith(PREFIX) and variable.removeprefix(PREFIX).lower() in _BY_NAME:
            name = variable.removeprefix(PREFIX).lower()
            values[name] = _parse(name, text, variable)
        elif variable.startswith(PREFIX):
            _refuse_misspelled(variable)
    for name, value in _read_file(file).items():
        if name == "kafka" and isinstance(value, dict):
            for option, text in value.items():
                _put_kafka(kafka, option.replace("_", "."), str(text), f"{file}: kafka.{option}")
        else:
            values[name] = _parse(name, value, f"{file}: {name}")
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = _parse(name, value, flag(_BY_NAME[name]) if name in _BY_NAME else name)
    kafka.update(kafka_flags or {})
    return Settings(**values, kafka=kafka)


def _refuse_misspelled(variable: str) -> None:
    """Not every unknown one is an error: Kubernetes sets its own for a service of our name (SECONDLOOK_PORT)."""
    meant = get_close_matches(variable.removeprefix(PREFIX).lower(), _BY_NAME, n=1, cutoff=0.8)
    if meant:
        raise SettingsError(f"{variable}: no such setting; is {PREFIX}{meant[0].upper()} meant?")


def _parse(name: str, value: Any, where: str) -> Any:
    setting = _BY_NAME.get(name)
    if setting is None:
        raise SettingsError(f"{where}: no such setting; `secondlook settings` lists them")
    try:
        return setting.metadata["parse"](str(value))
    except ValueError as problem:
        raise SettingsError(f"{where} = {value!r}: {problem} ({setting.metadata['help']})") from None


def _put_kafka(kafka: dict[str, str], option: str, text: str, where: str) -> None:
    """`<option>.file` reads the value from a file, as mounted secrets are."""
    if not option.endswith(".file"):
        kafka[option] = text
        return
    try:
        kafka[option.removesuffix(".file")] = Path(text).read_text().strip()
    except OSError as problem:
        raise SettingsError(f"{where} = {text!r}: cannot read the secret: {problem.strerror}") from None


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
