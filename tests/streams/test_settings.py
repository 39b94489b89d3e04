"""Settings: three sources, one table."""

import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from streams.cli.main import main
from streams.dead_letters.redrive import _INSTANCE
from streams.errors import SettingsError
from streams.kafka.clients import base_config, consumer_config, transactional_id
from streams.settings import Settings, load_settings, settings_markdown


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
        ("SECONDLOOK_RESPONSE_TIMEOUT", "nan", "must be a finite number"),
        ("SECONDLOOK_RESPONSE_TIMEOUT", "inf", "must be a finite number"),
        ("SECONDLOOK_COMMIT_LINGER", "0", "must be above 0"),
        ("SECONDLOOK_COMMIT_LINGER", "1.5", "must be at most 1"),
        ("SECONDLOOK_RESPONSE_TIMEOUT", "10s", "must be a number, without its unit"),
        ("SECONDLOOK_BATCH_SIZE", "2.5", "must be a whole number"),
        ("SECONDLOOK_DELIVERY", "at_most_once", "exactly_once, at_least_once"),
        ("SECONDLOOK_WEB_PORT", "70000", "0 to 65535"),
        ("SECONDLOOK_BROKER", " ", "must not be empty"),
        ("SECONDLOOK_GROUP", "", "must be of letters"),
        ("SECONDLOOK_GROUP", "a b", "must be of letters"),
        ("SECONDLOOK_INSTANCE_ID", "pod:1", "must be of letters"),
        ("SECONDLOOK_TOPIC_PREFIX", "eu/", "only letters.*in a topic's name"),
        ("SECONDLOOK_TOPIC_PREFIX", "e u.", "only letters.*in a topic's name"),
        ("SECONDLOOK_TOPIC_PREFIX", "é.", "only letters.*in a topic's name"),
        ("SECONDLOOK_TOPIC_PREFIX", "e" * 201, "at most 200"),
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
    "option",
    ["auto.offset.reset", "group.protocol", "message.max.bytes", "metadata.broker.list", "transaction.timeout.ms"],
)
def test_options_that_would_change_what_is_promised_are_refused(option: str) -> None:
    """Rather than being overwritten without a word."""
    with pytest.raises(SettingsError, match=f"kafka option {option} cannot be set"):
        base_config(load_settings(kafka_flags={option: "1"}, environ={}))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("no.such.option", "1"),
        ("fetch.min.bytes", "many"),
        ("security.protocol", "magic"),
        ("linger.ms", "soon"),  # the client calls it queue.buffering.max.ms
        ("session.timeout.ms", "1000000000"),  # the client's words end with a line's end
    ],
)
def test_options_that_the_client_refuses_are_said_with_its_words(option: str, value: str) -> None:
    """One line, not a traceback, that names the option also when others are right."""
    with pytest.raises(SettingsError, match=f"^the Kafka client refuses its options.*{option}.*") as refused:
        base_config(load_settings(kafka_flags={"client.rack": "a", option: value}, environ={}))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("SECONDLOOK_GRUOP", "is SECONDLOOK_GROUP meant? "),
        ("SECONDLOOK_NONSENSE", ""),
        ("SECONDLOOK_PORT", ""),
    ],
)
def test_a_variable_that_is_no_setting_is_refused(variable: str, advice: str) -> None:
    """As it is in the file, whether it resembles a setting or not."""
    said = f"{variable}: no such setting; {advice}`secondlook settings` lists them"
    with pytest.raises(SettingsError, match=f"^{re.escape(said)}$"):
        load_settings(environ={variable: "a"})


@pytest.mark.parametrize("service", ["SECONDLOOK", "SECONDLOOK_WEB", "SECONDLOOK_KAFKA", "SECONDLOOK_KAFKA_EU"])
def test_what_kubernetes_says_of_services_is_not_ours(service: str) -> None:
    """Services named secondlook, or secondlook-web, bring variables with our prefix; those of one are even our settings'."""
    environ = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "6066",
        "SERVICE_PORT_WEB": "6066",
        "PORT": "tcp://10.0.0.1:6066",
        "PORT_6066_TCP": "tcp://10.0.0.1:6066",
        "PORT_6066_TCP_PROTO": "tcp",
        "PORT_6066_TCP_PORT": "6066",
        "PORT_6066_TCP_ADDR": "10.0.0.1",
    }
    environ = {f"{service}_{name}": text for name, text in environ.items()}
    assert load_settings(environ=environ) == load_settings(environ={})


def test_what_else_reads_the_environment_is_let_be() -> None:
    """The variables that the project's own code reads beside the settings stop no worker that a test starts."""
    root = Path(__file__).parents[2]
    code = [path.read_text() for folder in ("streams", "scoring", "tests") for path in (root / folder).rglob("*.py")]
    read = {name for text in code for name in re.findall(r'environ\.get\("(SECONDLOOK_\w+)"', text)}
    assert {"SECONDLOOK_CACHE", "SECONDLOOK_TEST_BROKER", "SECONDLOOK_FUZZED_BODIES"} <= read
    assert load_settings(environ=dict.fromkeys(read, "1")) == load_settings(environ={})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('broker = ["a:1", "b:1"]', "must be one text or number"),
        ('[secondlook]\nbroker = "a:1"', "settings stand at the top of the file"),
        ("kafka = 3", "settings stand at the top of the file"),
        ("bach_size = 3", r"is batch_size meant\?"),
    ],
)
def test_a_setting_in_the_wrong_shape_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """Rather than being taken for something that nobody wrote."""
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=why):
        load_settings(file=file, environ={})


def test_kafka_options_in_the_file_need_no_quotes(tmp_path: Path) -> None:
    """To TOML an unquoted name with dots is a table in a table; to us it is the option that was meant."""
    file = tmp_path / "settings.toml"
    file.write_text('[kafka]\nsecurity.protocol = "SSL"\n"client.rack" = "a"\nssl_ca_location = "/ca"\n')
    expected = {"security.protocol": "SSL", "client.rack": "a", "ssl.ca.location": "/ca"}
    assert expected == load_settings(file=file, environ={}).kafka


def test_a_secret_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """In one line, and without a byte of it."""
    (tmp_path / "password").write_bytes(b"\xff\x00hunter2")
    with pytest.raises(SettingsError, match=r"SASL_PASSWORD_FILE.*not text in UTF-8") as refused:
        load_settings(environ={"SECONDLOOK_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "password")})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "option",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.jwt.template.file",
        "SASL.Password",
    ],
)
def test_secrets_are_masked_by_what_they_are(option: str) -> None:
    """Under whichever of the client's names they are given."""
    masked = load_settings(kafka_flags={option: "hunter2", "sasl.username": "ann"}, environ={}).masked()
    assert {option: "***", "sasl.username": "ann"} == masked["kafka"]


def test_a_secret_that_the_client_quotes_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    """It says the part of `sasl.oauthbearer.config` that it does not understand; the log does not."""
    options = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "enable.sasl.oauthbearer.unsecure.jwt": "true",
        "sasl.oauthbearer.config": "principal=ann password=hunter2",
    }
    producer = Producer(base_config(load_settings({"broker": "127.0.0.1:1"}, kafka_flags=options, environ={})))
    deadline = time.monotonic() + 10
    while "oauthbearer" not in caplog.text and time.monotonic() < deadline:
        producer.poll(0.1)
    assert "Unrecognized sasl.oauthbearer.config ***" in caplog.text
    assert "hunter2" not in caplog.text


def test_transactional_ids_tell_instances_apart() -> None:
    """Two workers never fence each other because the names of their groups and instances make the same when joined."""
    names = [("", "a", "b-c"), ("", "a-b", "c"), ("", "a", "redrive"), ("a-", "b", "c-d"), ("a-", "b-c", "d")]
    ids = {transactional_id(Settings(topic_prefix=one, group=two, instance_id=three)) for one, two, three in names}
    assert len(names) == len(ids)
    assert all(one.startswith("a") for one in ids)  # access rules go by the beginning
    with pytest.raises(SettingsError):
        load_settings({"instance_id": _INSTANCE}, environ={})
