"""docker-compose.yml by the schema of the Compose specification, and beside what the image and the brokers say."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from streams.cli.main import main
from tests.deploy.manifests import ROOT

COMPOSE = ROOT / "docker-compose.yml"


def checked(file: Path) -> "subprocess.CompletedProcess[str]":
    """By the schema that check-jsonschema ships."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_is_valid() -> None:
    """By the specification's own schema."""
    done = checked(COMPOSE)
    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong"), [("restart: unless-stopped", "restarts: always"), ("retries: 20", "retries: []")]
)
def test_what_is_wrong_is_found(tmp_path: Path, right: str, wrong: str) -> None:
    """The schema is there, and strict."""
    text = COMPOSE.read_text()
    assert right in text
    file = tmp_path / "docker-compose.yml"
    file.write_text(text.replace(right, wrong))
    assert 1 == checked(file).returncode


def test_commands_and_ports_are_ours() -> None:
    """Each service of our image runs a command that there is, and is reached on the port that it listens on, from this machine alone."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    (image,) = re.findall(r"SECONDLOOK_WEB_PORT=(\d+)", (ROOT / "deploy/Dockerfile").read_text())
    commands = {name: main.get_command(click.Context(main), name) for name in ("worker", "console", "topics")}
    assert None not in commands.values()
    options = {option.name: option.default for option in commands["console"].params}  # type: ignore[union-attr]
    listening = {"worker": [image], "console": [str(options["port"])]}
    ours = {name: one for name, one in services.items() if one["image"] == "secondlook"}
    assert {*commands} == {*ours}
    for name, one in ours.items():
        assert name == one.get("command", ["worker"])[0]
        assert listening.get(name, []) == [port.rsplit(":", 1)[1] for port in one.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for one in services.values() for port in one.get("ports", []))
    assert all(one["cap_drop"] == ["ALL"] and one["read_only"] for one in ours.values())
