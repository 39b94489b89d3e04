"""Keys, and control messages signed with them, through the command."""

import stat
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from streams.cli.main import main
from streams.errors import SettingsError
from streams.kafka.control_keys import load_trust
from streams.kafka.topics import load_topics
from streams.settings import load_settings
from streams.trials.brokers import EmbeddedBroker
from streams.trials.worker_process import WorkerProcess


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(load_topics().values()) as broker:
        yield broker


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    """The private key of ana, and the file of public keys with hers in it."""
    private, public = tmp_path / "ana.key", tmp_path / "keys"
    made = CliRunner().invoke(main, ["control", "keygen", str(private), "ana"])
    assert 0 == made.exit_code, made.output
    public.write_text("# who may\n\n" + made.output)
    return str(private), str(public)


def control(broker: EmbeddedBroker, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["control", *arguments, "--broker", broker.bootstrap])


def test_a_private_key_is_its_owners_and_is_not_written_over(keys: tuple[str, str]) -> None:
    """A lost key is lost for good."""
    private = Path(keys[0])
    assert 0o600 == stat.S_IMODE(private.stat().st_mode)
    before = private.read_text()
    result = CliRunner().invoke(main, ["control", "keygen", str(private), "ana"])
    assert (1, before) == (result.exit_code, private.read_text())
    assert "is there already" in result.output


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "no key in it"), ("nonsense ana", ":1: no public key"), ("{key} a\n{key} a", ":2: a second key called 'a'")],
)
def test_a_file_of_keys_that_is_wrong_is_said(tmp_path: Path, keys: tuple[str, str], text: str, says: str) -> None:
    """With its line."""
    key = Path(keys[1]).read_text().splitlines()[-1].split()[0]
    (tmp_path / "wrong").write_text(text.format(key=key))
    for file, what in ((tmp_path / "wrong", says), (tmp_path / "absent", "cannot read the key")):
        with pytest.raises(SettingsError, match=what):
            load_trust(load_settings({"control_keys": str(file)}, environ={}))


def test_workers_with_keys_take_only_what_is_signed(
    broker: EmbeddedBroker, models: Path, keys: tuple[str, str]
) -> None:
    """What another machine writes unsigned is refused by them, and the command says that it is in force nowhere."""
    private, public = keys
    settings = {"broker": broker.bootstrap, "delivery": "at_least_once", "model": models, "web_port": 0}
    with WorkerProcess({**settings, "instance_id": "worker-1", "control_keys": public}) as running:
        running.wait_for("assigned")
        forged = control(broker, "set-threshold", "1")
        assert (3, True) == (forged.exit_code, "worker-1: it refused it, and has version 0 in force" in forged.output)
        unsigned = control(broker, "set-threshold", "1", "--control-keys", public)
        assert (4, True) == (unsigned.exit_code, "give --sign-with FILE" in unsigned.output)
        signed = control(broker, "set-threshold", "0.2", "--control-keys", public, "--sign-with", private)
        assert (0, True) == (signed.exit_code, "worker-1: in force, version 2" in signed.output), signed.output
        told = control(broker, "history", "--json", "--control-keys", public)
        first, second = (orjson.loads(line) for line in told.stdout.splitlines())
        assert ("ana", None) == (second["signed_by"], second["refused"])
        assert (None, True) == (first["signed_by"], "only signed messages count" in first["refused"])
        assert 0 == running.terminate()
