"""The real broker of these tests, the first that is there: SECONDLOOK_TEST_BROKER, Docker, Java with Maven.

With none of them the tests are skipped, and the last lines of the run say so. With SECONDLOOK_REQUIRE_KAFKA=1 they fail.
"""

import fcntl
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from confluent_kafka.admin import AdminClient

from streams.errors import BrokerError
from streams.kafka.topics import Topic, create_topics, load_topics
from streams.trials.brokers import LocalKafka, Security, free_ports
from streams.trials.brokers.distribution import fetch_libraries, find_java
from tests.kafka.secured import ADMIN, Secured, demanding

IMAGE = "apache/kafka:4.1.1"
USED = pytest.StashKey[str]()
# A broker that lives for a minute is faster with what is compiled at once than with what is compiled well.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this folder, so that `-m kafka` and `-m 'not kafka'` choose by it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kafka)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where a process of several ran the tests, it says so to the one that writes the summary."""
    if hasattr(session.config, "workeroutput") and USED in session.config.stash:
        session.config.workeroutput["kafka"] = session.config.stash[USED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear it."""
    if used := getattr(node, "workeroutput", {}).get("kafka"):
        node.config.stash[USED] = used


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which broker the tests ran on, or that they did not run."""
    used = config.stash.get(USED, None)
    if used is not None:
        terminalreporter.section("real Kafka", blue=True, bold=True)
        terminalreporter.line(used)


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a real Kafka with room for any number of topics."""
    if given := os.environ.get("SECONDLOOK_TEST_BROKER"):
        pytestconfig.stash[USED] = f"SECONDLOOK_TEST_BROKER={given}"
        yield given
        return
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    docker = docker_answers()
    with shared(folder, kafka_in_docker() if docker else local_kafka(pytestconfig)) as bootstrap:
        what = f"Docker, {IMAGE}," if docker else "the local Kafka from Java and Maven"
        pytestconfig.stash[USED] = f"{what} at {bootstrap}"
        yield bootstrap


@pytest.fixture(scope="module")
def own_kafka(pytestconfig: pytest.Config) -> Iterator[LocalKafka]:
    """Give a local Kafka of a file's own, which its tests may stop and kill, and leave running."""
    with local_kafka_or_skip(pytestconfig) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def secured(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Give a local Kafka of a file's own that lets nobody in without TLS, a login and rights."""
    folder = tmp_path_factory.mktemp("secured")
    security = demanding(folder)
    with local_kafka_or_skip(pytestconfig, security) as cluster:
        yield Secured(cluster.bootstrap, folder, {ADMIN: security.users[ADMIN]})


@pytest.fixture
def java(pytestconfig: pytest.Config) -> None:
    """Give nothing, where a local Kafka can be started."""
    try:
        find_java()
        fetch_libraries()
    except BrokerError as error:
        no_kafka(pytestconfig, str(error))


@pytest.fixture
def prefix(kafka: str) -> Iterator[str]:
    """Give a prefix for all names on the broker (topics, groups, transactional ids) that no other test has.

    Its topics are deleted afterwards: the broker may be somebody's who wants it back as it was.
    """
    own = f"test-{uuid.uuid4().hex[:12]}."
    yield own
    admin = AdminClient({"bootstrap.servers": kafka})
    names = [name for name in admin.list_topics(timeout=60).topics if name.startswith(own)]
    for answer in (admin.delete_topics(names) if names else {}).values():
        answer.result()


@pytest.fixture
def topics(kafka: str, prefix: str) -> dict[str, Topic]:
    """Give a full set of topics of the test's own, created and empty."""
    own = load_topics(prefix)
    create_topics({"bootstrap.servers": kafka}, own)
    return own


@contextmanager
def shared(folder: Path, broker: AbstractContextManager[str]) -> Iterator[str]:
    """One broker for a run's processes: the first that needs it starts it, and waits for all who use it before it stops it."""
    address = folder / "kafka"
    with (folder / "lock").open("w") as lock, (folder / "users").open("w") as users, ExitStack() as own:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mine = not address.exists()
        if mine:
            address.write_text(own.enter_context(broker))
        bootstrap = address.read_text()
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(lock, fcntl.LOCK_UN)
        yield bootstrap
        if mine:
            fcntl.flock(lock, fcntl.LOCK_EX)
            address.unlink()
            fcntl.flock(lock, fcntl.LOCK_UN)
            fcntl.flock(users, fcntl.LOCK_EX)


@contextmanager
def local_kafka(config: pytest.Config) -> Iterator[str]:
    """The address of a local Kafka, run meanwhile."""
    with local_kafka_or_skip(config) as cluster:
        yield cluster.bootstrap


@contextmanager
def local_kafka_or_skip(config: pytest.Config, security: Security | None = None) -> Iterator[LocalKafka]:
    """Run a local Kafka; where that is impossible, skip the test, or fail it if a real broker is required."""
    with ExitStack() as running:
        try:
            cluster = running.enter_context(LocalKafka(security=security))
        except BrokerError as error:
            no_kafka(config, str(error))
        yield cluster


def no_kafka(config: pytest.Config, reason: str) -> NoReturn:
    """End the test for want of a real broker."""
    text = f"no real Kafka: SECONDLOOK_TEST_BROKER is not set, no Docker engine answers, and {reason}"
    if os.environ.get("SECONDLOOK_REQUIRE_KAFKA") == "1":
        pytest.fail(f"SECONDLOOK_REQUIRE_KAFKA=1, but {text}", pytrace=False)
    config.stash[USED] = f"NOT TESTED ON A REAL KAFKA, the tests in tests/kafka were skipped: {text}"
    pytest.skip(text)


def docker_answers() -> bool:
    """Tell whether a Docker engine is there: a client alone is not enough.

    Asked in a process of its own, because the client leaves a socket open when there is none.
    """
    program = "import docker; docker.from_env(timeout=5).ping()"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


@contextmanager
def kafka_in_docker() -> Iterator[str]:
    """Run one node of Apache's own image, with the settings that a single node needs."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    port = free_ports(1)
    container = DockerContainer(IMAGE).with_bind_ports(port, port)
    container.waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    for name, value in {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "ADVERTISED_LISTENERS": f"PLAINTEXT://localhost:{port}",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
    }.items():
        container.with_env(f"KAFKA_{name}", value)
    with container:
        yield f"localhost:{port}"
