"""What the client's errors mean: told apart by its words, and heard where a call only times out."""

import socket
import threading
from contextlib import suppress

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError

from streams.cli.main import main
from streams.errors import BrokerError, DeniedError
from streams.kafka.topics import load_topics
from streams.kafka.troubles import KINDS, Ear, failed, no_answer, told, trouble_of
from streams.trials.brokers import EmbeddedBroker

SAID = {
    "refused": "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
    "name": "nohost:9092/bootstrap: Failed to resolve 'nohost:9092': Name or service not known (after 4ms in state CONNECT)",
    "no-way": "10.0.0.1:9092/1: Connection setup timed out in state CONNECT (after 30029ms in state CONNECT)",
    "plaintext-port": "ssl://b:9092/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after 5ms in state SSL_HANDSHAKE)",
    "tls-port": "b:9093/bootstrap: Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?) or broker version is < 0.10",
    "certificate": "ssl://b:9093/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified",
    "login": "sasl_ssl://b:9093/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512",
    "sasl-mechanism": "sasl_ssl://b:9093/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512",
    "login-wanted": "b:9092/bootstrap: Disconnected: verify that security.protocol is correctly configured, broker might require SASL authentication",
    "client-certificate": "ssl://b:9093/bootstrap: SSL handshake failed: tlsv13 alert certificate required: client SSL authentication might be required",
}


def test_each_trouble_is_known_by_the_clients_words() -> None:
    """And none for another one; the address is the one that the client names."""
    found = {name: trouble_of(text) for name, text in SAID.items()}
    assert {one.name for one in KINDS} == set(SAID)
    assert {name: name for name in SAID} == {name: one.kind.name for name, one in found.items() if one is not None}
    assert {"127.0.0.1:1", "nohost:9092", "10.0.0.1:9092", "b:9092", "b:9093"} == {
        one.address for one in found.values() if one is not None
    }


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED])
def test_a_missing_right_is_named(code: int) -> None:
    """As an error of its own, which nobody tries again."""
    problem = failed("cannot read t", KafkaError(code), "Read t")
    assert isinstance(problem, DeniedError)
    assert "cannot read t: this user lacks the right to Read t (secondlook doctor says what gives it)" == str(problem)
    assert "a right (Broker: " in told(KafkaError(code))


def test_anything_else_is_the_clients_own_word() -> None:
    """No DeniedError."""
    error = KafkaError(KafkaError._TIMED_OUT)
    assert (BrokerError, f"cannot read t: {error.str()}") == (
        type(failed("cannot read t", error)),
        str(failed("cannot read t", error)),
    )


def test_a_client_that_nobody_answers_is_asked_what_it_heard() -> None:
    """Its call says only that it took too long; the last trouble that it can name counts."""
    ear, late = Ear(), KafkaError(KafkaError._TIMED_OUT)
    config = {"bootstrap.servers": "b:9092", "error_cb": ear}
    assert "within 3 s" in str(no_answer(config, 3, late))
    ear(KafkaError(KafkaError._AUTHENTICATION, SAID["login"]))
    ear(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert "no Kafka broker answered at b:9092. b:9093: the broker refuses the login" in str(no_answer(config, 3, late))


def said(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["control", "show", *arguments])
    assert 1 == result.exit_code
    assert 1 == len(result.output.splitlines()), result.output
    return result.output


def test_a_port_where_nothing_listens_and_a_name_that_nobody_knows() -> None:
    """One line each."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    assert f"{address}: nothing listens there" in said("--broker", address)
    assert "no-such-host.invalid:9092: no machine is known by that name" in said(
        "--broker", "no-such-host.invalid:9092"
    )


def test_tls_to_a_port_without() -> None:
    """Said at once: waiting does not mend it."""
    with EmbeddedBroker(load_topics().values()) as broker:
        assert "the port does not speak TLS" in said("--broker", broker.bootstrap, "-X", "security.protocol=SSL")


def hang_up(server: socket.socket) -> None:
    with suppress(OSError):  # the test is over
        while True:
            server.accept()[0].close()


def test_a_port_that_hangs_up_may_be_a_proxys() -> None:
    """One with no broker behind it does what a port with TLS does: both are said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=hang_up, args=(server,), daemon=True).start()
        found = said("--broker", f"127.0.0.1:{server.getsockname()[1]}")
    assert "it speaks TLS" in found
    assert "a proxy with no broker behind it" in found


def test_a_secret_is_not_taken_from_the_command_line() -> None:
    """Every user of the machine could see it; the message has the other ways, and not the secret."""
    result = CliRunner().invoke(main, ["control", "show", "-X", "sasl.password=hunter2"])
    assert 2 == result.exit_code
    assert "hunter2" not in result.output
    assert "SECONDLOOK_KAFKA_SASL_PASSWORD_FILE" in " ".join(result.output.split())
