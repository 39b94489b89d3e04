"""What the local Kafka needs on this machine: a Java, and Kafka's jars, fetched once with Maven into a cache folder."""

import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from streams.errors import BrokerError

_OLDEST_JAVA = 17
_LAST_LINES = 8

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder outside the checkout where downloads are kept: SECONDLOOK_CACHE, or the user's cache folder."""
    if own := os.environ.get("SECONDLOOK_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secondlook"


def find_java() -> str:
    """Return the `java` to run, from JAVA_HOME or the path. Raises BrokerError if there is none that is new enough."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    wanted = f"the local Kafka needs Java {_OLDEST_JAVA} or newer"
    mend = "install one (Debian: apt-get install openjdk-17-jre-headless), or set JAVA_HOME to one"
    if java is None:
        raise BrokerError(f"{wanted}, but found none {f'in JAVA_HOME={home}' if home else 'on the path'}: {mend}")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    major = re.search(r'version "(\d+)', told)
    if major is None or int(major[1]) < _OLDEST_JAVA:
        version = told.partition("\n")[0] or "one that tells no version"
        raise BrokerError(f"{wanted}, but {java} is {version}: {mend}")
    return java


def fetch_libraries() -> Path:
    """Return the folder of Kafka's jars; the first call downloads them (about 45 MB).

    Raises BrokerError if Maven is missing or the download fails.
    """
    pom = resources.files("streams.trials.brokers").joinpath("local_kafka.pom.xml").read_bytes()
    # Named after what it was made from: another pinned version is another folder.
    libraries = cache_folder() / "kafka" / f"libraries-{hashlib.sha256(pom).hexdigest()[:12]}"
    if not libraries.is_dir():
        libraries.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=libraries.parent) as folder:
            _download(pom, Path(folder))
            _move(Path(folder) / "libraries", libraries)
    return libraries


def _download(pom: bytes, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerError(
            "Kafka's jars are fetched with Maven, but there is no mvn on the path: install it (Debian: apt-get install "
            "maven), or give the address of a Kafka that runs already"
        )
    (folder / "pom.xml").write_bytes(pom)
    log.info("fetching Kafka with Maven, once, into %s", folder.parent)
    done = subprocess.run(  # noqa: S603 (fixed arguments)
        [
            maven,
            "--batch-mode",
            "--quiet",
            f"--file={folder / 'pom.xml'}",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={folder / 'libraries'}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[:_LAST_LINES])
        raise BrokerError(f"Maven could not fetch Kafka's jars (is its repository reachable?); it said:\n{said}")


def _move(made: Path, libraries: Path) -> None:
    """Put the finished folder in its place at once, so that no half of one is ever found there."""
    try:
        made.rename(libraries)
    except OSError:
        if not libraries.is_dir():  # otherwise another process was quicker, with the same jars
            raise
