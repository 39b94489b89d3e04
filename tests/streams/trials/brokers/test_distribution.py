"""What the local Kafka needs, and what a user reads where it is missing."""

from pathlib import Path

import pytest

from streams.errors import BrokerError
from streams.trials.brokers.distribution import cache_folder, fetch_libraries, find_java


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that is the whole path, with an empty cache beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("SECONDLOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def install(folder: Path, name: str, script: str) -> Path:
    """Put a shell script there as a program."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


@pytest.mark.usefixtures("programs")
def test_no_java() -> None:
    """Without any Java the error says which is needed and how to get it."""
    with pytest.raises(BrokerError, match=r"needs Java 17 or newer, but found none on the path: install one"):
        find_java()


@pytest.mark.parametrize("version", ["1.8.0_412", "11.0.23", "16.0.2"])
def test_old_java(programs: Path, version: str) -> None:
    """A Java that is too old is refused with its version."""
    install(programs, "java", f"echo 'openjdk version \"{version}\" 2024-04-16' >&2")
    with pytest.raises(BrokerError, match=version):
        find_java()


@pytest.mark.parametrize("version", ["17.0.15", "21", "25-ea"])
def test_new_java(programs: Path, version: str) -> None:
    """A Java that is new enough is taken, in any of the ways in which versions are written."""
    java = install(programs, "java", f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")
    assert find_java() == str(java)


def test_java_home_comes_first(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAVA_HOME is taken before the path, as Kafka's own scripts do."""
    install(programs, "java", "exit 1")
    (tmp_path / "home" / "bin").mkdir(parents=True)
    chosen = install(tmp_path / "home" / "bin", "java", "echo 'openjdk version \"17.0.1\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java() == str(chosen)


@pytest.mark.usefixtures("programs")
def test_no_maven() -> None:
    """Without Maven the error names it and the other way out."""
    with pytest.raises(BrokerError, match=r"no mvn on the path.*a Kafka that runs already"):
        fetch_libraries()


def test_failed_download(programs: Path) -> None:
    """When the download fails the user reads what Maven said, and the next call tries again."""
    install(programs, "mvn", "echo 'Unknown host repository.example'; exit 1")
    for _ in range(2):
        with pytest.raises(BrokerError, match=r"Unknown host repository\.example"):
            fetch_libraries()


def test_downloaded_once(programs: Path) -> None:
    """What was fetched is found again, without Maven."""
    maven = install(
        programs, "mvn", 'for each; do case $each in -DoutputDirectory=*) /bin/mkdir "${each#*=}";; esac; done'
    )
    first = fetch_libraries()
    maven.unlink()
    assert first == fetch_libraries()
    assert cache_folder() in first.parents


def test_cache_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without SECONDLOOK_CACHE downloads lie in the user's cache folder."""
    monkeypatch.delenv("SECONDLOOK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tmp_path / "secondlook" == cache_folder()
