"""Settings: three sources, one table."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.main import main
from streams.errors import SettingsError
from streams.kafka.clients import base_config, consumer_config
from streams.settings import load_settings, settings_markdown


def test_flags_win_over_the_file_and_the_file_over_the_environment(tmp_path: Path) -> None:
    """Each source overrides the one before."""
    file = tmp_path / "secondlook.toml"
    file.write_text('group = "from-file"\nbatch_size = 7\n')
    environ = {"SECONDLOOK_GROUP": "from-env", "SECONDLOOK_BATCH_SIZE": "5", "SECONDLOOK_BROKER": "env:1"}
    loaded = load_settings({"batch_size": "9"}, file=file, environ=environ)
    assert ("env:1", "from-file", 9) == (loaded.broker, loaded.group, loaded.batch_size)


@pytest.mark.parametrize(
    ("variable", "text", "why"),
    [
        ("SECONDLOOK_BATCH_SIZE", "0", "must be 1 or more"),
        ("SECONDLOOK_RESPONSE_TIMEOUT", "-1", "must be above 0"),
        ("SECONDLOOK_RESPONSE_TIMEOUT", "nan", "must be above 0"),
        ("SECONDLOOK_RESPONSE_TIMEOUT", "soon", "soon"),
        ("SECONDLOOK_DELIVERY", "at_most_once", "exactly_once, at_least_once"),
        ("SECONDLOOK_WEB_PORT", "70000", "0 to 65535"),
        ("SECONDLOOK_GROUP", " ", "must not be empty"),
    ],
)
def test_a_bad_value_is_refused_with_its_source(variable: str, text: str, why: str) -> None:
    """The message names the variable and what the value may be."""
    with pytest.raises(SettingsError, match=f"{variable}.*{why}"):
        load_settings(environ={variable: text})


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    """A misspelt setting is an error, not a silent default."""
    file = tmp_path / "secondlook.toml"
    file.write_text("bach_size = 7\n")
    with pytest.raises(SettingsError, match="bach_size: no such setting"):
        load_settings(file=file, environ={})


@pytest.mark.parametrize("text", [None, "group = ", b"\xff\xfe".decode("latin-1")])
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str | None) -> None:
    """Missing or malformed, the message names the file."""
    file = tmp_path / "settings.toml"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"settings\.toml"):
        load_settings(file=file, environ={})


def test_kafka_options_pass_through_and_secrets_come_from_files(tmp_path: Path) -> None:
    """Client options keep librdkafka's names; secrets are read from files and masked in the log."""
    (tmp_path / "password").write_text("hunter2\n")
    environ = {
        "SECONDLOOK_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "SECONDLOOK_KAFKA_SASL_MECHANISM": "PLAIN",
        "SECONDLOOK_KAFKA_SASL_USERNAME": "secondlook",
        "SECONDLOOK_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "password"),
    }
    loaded = load_settings(environ=environ)
    config = base_config(loaded)
    assert ("SASL_SSL", "hunter2") == (config["security.protocol"], config["sasl.password"])
    assert "hunter2" not in str(loaded.masked())


def test_options_that_a_guarantee_hangs_on_cannot_be_set() -> None:
    """The message says why."""
    with pytest.raises(SettingsError, match=r"enable\.auto\.commit cannot be set: offsets are committed with"):
        base_config(load_settings(kafka_flags={"enable.auto.commit": "true"}, environ={}))


def test_a_named_instance_is_a_static_member_of_its_group() -> None:
    """Its partitions are kept across a restart; an unnamed one joins anew."""
    named = consumer_config(load_settings({"instance_id": "pod-0"}, environ={}))
    unnamed = consumer_config(load_settings(environ={}))
    assert ("pod-0", None) == (named.get("group.instance.id"), unnamed.get("group.instance.id"))


def test_an_empty_default_is_not_shown() -> None:
    """Neither as `Default: .` in the help nor as an empty piece of code in the table."""
    runner = CliRunner()
    helped = " ".join(runner.invoke(main, ["worker", "--help"]).output.split())
    assert "on one cluster. --" in helped
    assert "Default: 127.0.0.1:9092." in helped
    assert "| `topic_prefix` | `SECONDLOOK_TOPIC_PREFIX` |  |" in settings_markdown()


@pytest.mark.parametrize(
    "option", ["auto.offset.reset", "group.protocol", "message.max.bytes", "transaction.timeout.ms"]
)
def test_options_that_would_change_what_is_promised_are_refused(option: str) -> None:
    """Rather than being overwritten without a word."""
    with pytest.raises(SettingsError, match=f"kafka option {option} cannot be set"):
        base_config(load_settings(kafka_flags={option: "1"}, environ={}))


@pytest.mark.parametrize(
    ("option", "value"), [("no.such.option", "1"), ("fetch.min.bytes", "many"), ("security.protocol", "magic")]
)
def test_options_that_the_client_refuses_are_said_with_its_words(option: str, value: str) -> None:
    """One line, not a traceback."""
    with pytest.raises(SettingsError, match=f"the Kafka client refuses its options.*{option}"):
        base_config(load_settings(kafka_flags={option: value}, environ={}))


def test_a_misspelled_variable_is_refused_and_one_of_kubernetes_is_not() -> None:
    """A service named secondlook brings variables of its own."""
    with pytest.raises(SettingsError, match=r"SECONDLOOK_GRUOP: no such setting; is SECONDLOOK_GROUP meant\?"):
        load_settings(environ={"SECONDLOOK_GRUOP": "a"})
    environ = {"SECONDLOOK_PORT": "tcp://10.0.0.1:6066", "SECONDLOOK_SERVICE_HOST": "10.0.0.1"}
    assert load_settings(environ=environ) == load_settings(environ={})
