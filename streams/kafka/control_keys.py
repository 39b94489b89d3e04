"""The files of keys: the public ones whose control messages count, and the private one that an operator signs with."""

import os
from pathlib import Path

from streams.errors import SettingsError
from streams.kafka.topics import load_topics, topic_names
from streams.pipeline.control_signing import Trust, new_keys, public_key, read_key, write_key
from streams.settings import Settings


def load_trust(settings: Settings) -> Trust | None:
    """The keys of the settings; None where there are none and every message counts. Raises SettingsError."""
    file = settings.control_keys
    if file is None:
        return None
    keys: dict[str, bytes] = {}
    for number, line in enumerate(_read(file).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        text, _, name = line.strip().partition(" ")
        try:
            key = read_key(text)
        except ValueError:
            raise SettingsError(
                f"{file}:{number}: no public key; a line is what `secondlook control keygen` prints: the key in base64, and a name"
            ) from None
        name = name.strip() or text[:8]
        if name in keys:
            raise SettingsError(f"{file}:{number}: a second key called {name!r}: give each a name of its own")
        keys[name] = key
    if not keys:
        raise SettingsError(
            f"{file}: no key in it: nobody could issue a control message. Leave control_keys out, or put one in"
        )
    return Trust(topic_names(load_topics(settings.topic_prefix))["control"], keys, settings.control_signed_from)


def load_private_key(file: Path) -> bytes:
    """The raw private key of a file. Raises SettingsError."""
    try:
        return read_key(_read(file).strip())
    except ValueError:
        raise SettingsError(f"{file}: no private key as `secondlook control keygen` writes it") from None


def signing_key(settings: Settings) -> bytes | None:
    """The private key that a worker signs with. Raises SettingsError where it cannot be read, or nobody trusts it."""
    file, trust = settings.control_sign_with, load_trust(settings)
    if file is None:
        return None
    key = load_private_key(file)
    if trust is not None and public_key(key) not in trust.keys.values():
        raise SettingsError(
            f"{file}: its public key is not among the control_keys, so what this worker signs would be refused"
        )
    return key


def write_private_key(file: Path) -> str:
    """Write a new private key, which only its owner may read, into a file that is not there yet; returns the public key in base64."""
    private, public = new_keys()
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SettingsError(f"{file} is there already: a key that is written over is gone") from None
    with os.fdopen(handle, "w") as out:
        out.write(write_key(private) + "\n")
    return write_key(public)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as problem:
        raise SettingsError(f"{file}: cannot read the key: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: cannot read the key: it is not text") from None
