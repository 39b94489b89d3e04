"""A real Apache Kafka on this machine, from Java and Maven: what Docker gives elsewhere.

`LocalKafka` is for programs and tests; `python -m streams.trials.brokers.command start|status|stop` keeps one running.
"""

import base64
import contextlib
import random
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.errors import BrokerError
from streams.trials.brokers.distribution import fetch_libraries, find_java

HOST = "127.0.0.1"
# Below the ports that the system gives to outgoing connections: else, while a node is down, a client that keeps trying
# to reach it can be given that very port for its own end, and the node can't come back.
_FREE_PORTS = (20_000, 32_000)
_MAX_REPLICAS = 3
_START_TIMEOUT = 120.0
_STOP_TIMEOUT = 60.0
_RELEASE_TIMEOUT = 3.0
_LAST_LINES = 12
_HEAP = ("-Xms256m", "-Xmx512m")


@dataclass(frozen=True)
class _Node:
    """One Kafka process, broker and controller. Its records, settings and log lie in `folder`."""

    number: int
    port: int
    controller_port: int
    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "server.properties"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


@dataclass(frozen=True)
class Security:
    """Access control of a local Kafka: settings of its nodes that go before its own, and what its own clients need.

    `users` are made with their SCRAM passwords when the nodes' folders are.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    client: Mapping[str, str] = field(default_factory=dict)


class LocalKafka:
    """A Kafka cluster with its records under `data`; a context manager that starts and stops it.

    Without `data` they lie in a temporary folder that lasts until `close`. Without `port` free ports
    are taken; a cluster takes two per node, upwards from `port`. Nodes are numbered from 1. `bootstrap` is the address.
    `start` raises BrokerError if Java, Maven or a port is missing, or if a node does not come up.
    """

    def __init__(
        self, data: Path | None = None, *, port: int | None = None, nodes: int = 1, security: Security | None = None
    ) -> None:
        self._security = security or Security()
        self._temporary = tempfile.TemporaryDirectory(prefix="secondlook-kafka-") if data is None else None
        self._data = Path(self._temporary.name) if self._temporary else Path(data or "").absolute()
        first = free_ports(2 * nodes) if port is None else port
        self._nodes = [
            _Node(number, first + number - 1, first + nodes + number - 1, self._data / f"node-{number}")
            for number in range(1, nodes + 1)
        ]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.bootstrap = ",".join(f"{HOST}:{node.port}" for node in self._nodes)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> dict[int, int]:
        """The process id of every running node, by the node's number."""
        return {node.number: self._processes[node.number].pid for node in self._nodes if self._running(node)}

    def start(self) -> None:
        """Start every node that isn't running, and wait until each of them answers; if one doesn't, end them all."""
        try:
            self._start()
        except BaseException:
            self.kill()
            raise

    def _start(self) -> None:
        java = [find_java(), *_HEAP, "-Dlog4j2.level=WARN", "-cp", str(fetch_libraries() / "*")]
        for node in self._nodes:
            if not self._running(node):
                _refuse_taken(node.port, node.controller_port)
                self._prepare(node, java)
                with node.log.open("ab") as log:
                    self._processes[node.number] = subprocess.Popen(  # noqa: S603 (fixed arguments)
                        [*java, "kafka.Kafka", str(node.settings)],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        # It outlives `streams.trials.brokers.command`, and a Ctrl-C here is not for it.
                        start_new_session=True,
                    )
        self._await_answer()

    def stop(self, node: int | None = None) -> None:
        """End one node, or all, cleanly: they hand over, write down where they are, and close."""
        self._end(node, signal.SIGTERM)

    def kill(self, node: int | None = None) -> None:
        """End one node, or all, at once and without notice, as a crash does."""
        self._end(node, signal.SIGKILL)

    def close(self) -> None:
        """End the cluster, and remove its records if they were temporary."""
        if self._temporary:
            self.kill()  # nothing to hand over
            self._temporary.cleanup()
        else:
            self.stop()

    def restart(self, node: int | None = None) -> None:
        """Stop one node, or all, and start again, at the same address and with the same records.

        Waits until every replica is in sync: else restarting the next node could take a partition away.
        """
        self.stop(node)
        self.start()
        self._await_in_sync()

    def _running(self, node: _Node) -> bool:
        process = self._processes.get(node.number)
        return process is not None and process.poll() is None

    def _end(self, number: int | None, how: signal.Signals) -> None:
        ending = [node for node in self._nodes if number in (None, node.number) and self._running(node)]
        for node in ending:
            self._processes[node.number].send_signal(how)
        for node in ending:
            process = self._processes[node.number]
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _prepare(self, node: _Node, java: list[str]) -> None:
        """Write the node's settings; format its folder the first time."""
        node.folder.mkdir(parents=True, exist_ok=True)
        replicas = min(len(self._nodes), _MAX_REPLICAS)
        template = Template(
            resources.files("streams.trials.brokers").joinpath("local_kafka.properties").read_text(encoding="utf-8")
        )
        filled = template.substitute(
            node=node.number,
            voters=",".join(f"{each.number}@{HOST}:{each.controller_port}" for each in self._nodes),
            port=node.port,
            controller_port=node.controller_port,
            folder=node.folder,
            replicas=replicas,
            in_sync=max(1, replicas - 1),
        )
        # Of a setting that stands there twice, Kafka takes the last one.
        added = "".join(
            f"{name}={Template(value).safe_substitute(port=node.port, controller_port=node.controller_port)}\n"
            for name, value in self._security.settings.items()
        )
        node.settings.write_text(filled + added, encoding="utf-8")
        if (node.folder / "log" / "meta.properties").exists():
            return
        command = [*java, "kafka.tools.StorageTool", "format"]
        for name, password in self._security.users.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            [*command, f"--cluster-id={self._cluster_id()}", f"--config={node.settings}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BrokerError(f"Kafka could not format {node.folder}; it said:\n{done.stdout.strip()}")

    def _cluster_id(self) -> str:
        """Return the id that all nodes share, made once per data folder."""
        file = self._data / "cluster-id"
        with contextlib.suppress(FileExistsError), file.open("x", encoding="utf-8") as new:
            # As Kafka's own tool makes them; it reads a leading dash as an option.
            new.write(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A"))
        return file.read_text(encoding="utf-8")

    def _await_answer(self) -> None:
        """Wait until every node itself lists every node: an open port answers nothing yet, and others list the dead."""
        for node in self._nodes:
            admin = AdminClient(self._client(f"{HOST}:{node.port}"))
            unanswered = f"Kafka did not answer at {self.bootstrap} within {_START_TIMEOUT:g} s; its log is {node.log}"
            self._await(partial(_lists, admin, len(self._nodes)), unanswered)

    def _client(self, address: str) -> dict[str, str | int | float | bool]:
        return {"bootstrap.servers": address, "log_level": 0, **self._security.client}

    def _await_in_sync(self) -> None:
        admin = AdminClient(self._client(self.bootstrap))
        behind = f"the replicas at {self.bootstrap} were not in sync within {_START_TIMEOUT:g} s"
        self._await(partial(_in_sync, admin), behind)

    def _await(self, reached: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not reached():
            self._refuse_ended()
            if time.monotonic() > deadline:
                raise BrokerError(otherwise)
            time.sleep(0.05)

    def _refuse_ended(self) -> None:
        for node in self._nodes:
            if not self._running(node):
                code = self._processes[node.number].returncode
                said = "\n".join(node.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])
                raise BrokerError(f"Kafka's node {node.number} ended at its start with code {code}; it said:\n{said}")


def _lists(admin: AdminClient, brokers: int) -> bool:
    try:
        return len(admin.list_topics(timeout=0.5).brokers) >= brokers
    except KafkaException:
        return False


def _in_sync(admin: AdminClient) -> bool:
    try:
        topics = admin.list_topics(timeout=0.5).topics.values()
    except KafkaException:
        return False
    return all(len(one.isrs) == len(one.replicas) for topic in topics for one in topic.partitions.values())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Kafka itself does: a port whose last connections are only fading is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> int:
    """Return the first of `count` free ports in a row."""
    while True:
        first = random.randrange(_FREE_PORTS[0], _FREE_PORTS[1] - count)  # noqa: S311 (nothing secret)
        if all(_is_free(first + offset) for offset in range(count)):
            return first


def _refuse_taken(*ports: int) -> None:
    # A Kafka that was just ended may still be letting go.
    deadline = time.monotonic() + _RELEASE_TIMEOUT
    for port in ports:
        while not _is_free(port):
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"port {port} on {HOST} is taken, by another Kafka perhaps: end what listens there, or choose "
                    "another port with --port (a node takes two)"
                )
            time.sleep(0.05)
