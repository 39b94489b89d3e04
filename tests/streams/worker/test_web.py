"""/live and /ready: a broker that is away is no reason to restart a worker, and one for not being ready."""

import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest

from streams.errors import SettingsError
from streams.pipeline.positions import Position
from streams.pipeline.records import REQUESTS
from streams.settings import Settings
from streams.worker.run import check_port
from streams.worker.web import health, readiness

LONG = 100.0


def worker(**state: Any) -> Any:
    """One with work to do, all of which stands still; `state` says why."""
    source = {"behind_for": LONG, "restoring": False, "held": frozenset(), "joined": True, "polling_for": 0.0}
    source |= state.pop("source", {})
    positions = {(REQUESTS, 0): Position(3, end=5)}
    sink = {"last_commit": time.monotonic() - LONG, "waiting": False, **state.pop("sink", {})}
    parts = {"silent": 0.0, "stuck": 0.0, "controls_ready": True, "problem": None, **state}
    return SimpleNamespace(
        source=SimpleNamespace(positions=positions, **source),
        sink=SimpleNamespace(**sink),
        flow=SimpleNamespace(stuck_for=parts["stuck"]),
        prober=SimpleNamespace(silent_for=parts["silent"]),
        settings=SimpleNamespace(stall_timeout=60.0),
        controls=SimpleNamespace(
            ready=parts["controls_ready"],
            current=SimpleNamespace(version=1, model=SimpleNamespace(sha256="ab"), problem=parts["problem"]),
        ),
    )


def test_a_worker_that_does_not_get_on_is_not_alive() -> None:
    """Unread records and no commit, or a batch that is nowhere."""
    assert "2 records are unread" in health(worker())["reason"]
    assert "a batch has been in flight for 100 s" in health(worker(stuck=LONG))["reason"]
    assert health(worker(source={"behind_for": 1.0}))["ok"]


@pytest.mark.parametrize(
    "waits", [{"silent": 11.0}, {"source": {"restoring": True}}, {"sink": {"waiting": True}}], ids=str
)
def test_what_a_restart_would_only_begin_again_is_no_reason_for_one(waits: dict[str, Any]) -> None:
    """A broker that is away, with a batch in flight or without, and partitions that are being taken over."""
    assert health(worker(**waits))["ok"]
    assert health(worker(stuck=LONG, **waits))["ok"]


def test_a_client_that_does_not_come_back_is_a_reason_even_while_partitions_are_taken_over() -> None:
    """Lag and takeovers are followed by the thread that it holds; only a broker's absence may be why."""
    hanging = {"behind_for": 0.0, "restoring": True, "polling_for": LONG}
    assert "has not come back from reading for 100 s" in health(worker(source=dict(hanging)))["reason"]
    assert health(worker(source=dict(hanging), silent=11.0))["ok"]


def test_while_memory_is_full_only_a_batch_in_flight_can_stand_still() -> None:
    """What is held back waits for its other half."""
    held = {"source": {"held": frozenset({(REQUESTS, 0)})}}
    assert health(worker(**held))["ok"]
    assert not health(worker(stuck=LONG, **held))["ok"]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, None),
        ({"silent": 10.5}, "no broker has answered for 10 s"),
        ({"controls_ready": False}, "the control topic"),
        ({"source": {"joined": False}}, "not dealt partitions"),
        ({"source": {"restoring": True}}, "being taken over"),
        ({"problem": "no model"}, "cannot be honoured: no model"),
    ],
)
def test_readiness_has_a_reason(state: dict[str, Any], reason: str | None) -> None:
    """And says what is in force."""
    said = readiness(worker(**state))
    assert (reason is None) == said["ok"]
    assert reason is None or reason in said["reason"]
    assert (1, "ab", [0]) == (said["control_version"], said["model"], said["partitions"])


def test_a_port_that_is_taken_is_said_before_the_worker_starts() -> None:
    """Once it is free, it will do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = Settings(web_port=server.getsockname()[1])
        with pytest.raises(
            SettingsError, match=f"^web_port {settings.web_port} on web_host 127.0.0.1: Address already"
        ):
            check_port(settings)
    check_port(settings)


def test_an_address_that_is_not_known_is_said(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the resolver's words, which are not among the system's errors."""

    def unresolved(_address: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_server", unresolved)
    with pytest.raises(SettingsError, match=r"on web_host nowhere: Name or service not known; .*--web-host"):
        check_port(Settings(web_port=free_port, web_host="nowhere"))
