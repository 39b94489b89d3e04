"""Signed control messages: whose words count, and that none counts twice. Pure; cryptography is imported where keys are configured.

A signature is Ed25519 (RFC 8032) over the topic's name and the record's value, so a message of another pipeline is none here. It stands in the
record's header. `issued_at` must rise with each message of a key, so that a copy of an old one is refused, and `expires_at` must be given, so
that one that was held back comes too late.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streams.errors import ControlError
from streams.pipeline.reasons import Refusal

HEADER: Final = "secondlook.signature"
_PURPOSE: Final = b"secondlook control message\0"
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Trust:
    """The public keys (raw, by the names that an operator gave them) whose messages count in `topic`, from an offset on."""

    topic: str
    keys: Mapping[str, bytes]
    signed_from: int = 0

    @property
    def hash(self) -> str:
        """The same for the same keys, whatever they are called."""
        stated = [*sorted(key.hex() for key in self.keys.values()), str(self.signed_from)]
        return hashlib.sha256(" ".join(stated).encode()).hexdigest()[:16]

    def signer(self, value: bytes, signature: bytes | None) -> str:
        """The name of the key that signed a value. Raises ControlError where that is none of ours."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if signature is None:
            raise ControlError("it is not signed, and only signed messages count (control_keys)", Refusal.UNSIGNED)
        key_id, _, raw = signature.partition(b":")
        for name, key in self.keys.items():
            if id_of(key).encode() != key_id:
                continue
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(
                    base64.b64decode(raw, validate=True), _signed(self.topic, value)
                )
            except (InvalidSignature, binascii.Error, ValueError):
                raise ControlError(
                    f"its signature is not one of key {name} over this message in {self.topic}", Refusal.BAD_SIGNATURE
                ) from None
            return name
        raise ControlError("it is signed with a key that is not trusted (control_keys)", Refusal.BAD_SIGNATURE)


def id_of(key: bytes) -> str:
    """The short id of a public key."""
    return hashlib.sha256(key).hexdigest()[:16]


def sign(private: bytes, topic: str, value: bytes) -> bytes:
    """The header of a value in a topic, signed with a raw private key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(private)
    signature = base64.b64encode(key.sign(_signed(topic, value)))
    return id_of(key.public_key().public_bytes_raw()).encode() + b":" + signature


def new_keys() -> tuple[bytes, bytes]:
    """A new private key and its public key, raw."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


def public_key(private: bytes) -> bytes:
    """The raw public key of a raw private one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def read_key(text: str) -> bytes:
    """A raw key from its base64. Raises ValueError."""
    raw = base64.b64decode(text, validate=True)
    if len(raw) != _KEY_BYTES:
        raise ValueError(f"{len(raw)} bytes")
    return raw


def write_key(raw: bytes) -> str:
    """The base64 of a raw key."""
    return base64.b64encode(raw).decode()


def _signed(topic: str, value: bytes) -> bytes:
    return _PURPOSE + topic.encode() + b"\0" + value
