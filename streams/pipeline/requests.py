"""What is read of a request, however odd it is, and what a record's key must be. Pure."""

from typing import Annotated, TypeAlias

import msgspec

from streams.pipeline.gate import MAX_NAME, Refused
from streams.pipeline.portable import made_portable
from streams.pipeline.reasons import DeadLetter
from streams.pipeline.records import Record
from streams.pipeline.scope import EVERY, UNREADABLE

_SHOWN = 60

_LONGEST_TAG = 35  # what RFC 5646 has applications expect

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_TAG)]

Kind: TypeAlias = tuple[str, str, str | None]
"""What the pipeline reads of a request but its id: policy, tenant and language, as in `Request`."""


class Request(msgspec.Struct, gc=False):
    """What the pipeline itself reads of a request; every other field passes through in the verbatim bytes.

    `tenant` is `*` where the request has none, and UNREADABLE where it is no text of 1 to 255 characters.
    `language` is None where it is no text that could be a tag: a language that nobody can read stops no request.
    """

    request_id: _Name
    policy: _Name
    tenant: _Name | None = EVERY
    language: _Tag | None = None

    @property
    def kind(self) -> Kind:
        """All but the id."""
        return self.policy, self.tenant or UNREADABLE, self.language


class _Identified(msgspec.Struct, gc=False):
    """A request whose language may be anything, and its tenant too."""

    request_id: _Name
    policy: _Name
    language: msgspec.Raw = msgspec.Raw(b"null")


class _Owned(_Identified, gc=False):
    """A request whose language may be anything."""

    tenant: _Name | None = EVERY


_decode_request = msgspec.json.Decoder(Request).decode
_decode_owned = msgspec.json.Decoder(_Owned).decode
_decode_identified = msgspec.json.Decoder(_Identified).decode
_tags: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(_Tag | None)


def read_request(record: Record) -> Request:
    """The request in a record; raises Refused when it breaks the contract."""
    value = record.value or b""
    try:
        if not value.isascii():
            value.decode()  # msgspec does not look into strings that no field declares, and they travel on verbatim
        request = _decode(value)
    except msgspec.ValidationError as problem:
        code = DeadLetter.INVALID_REQUEST if value.lstrip()[:1] == b"{" else DeadLetter.NOT_A_RECORD
        raise Refused(code, f"{problem}: a request needs request_id and policy, non-empty strings") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Refused(DeadLetter.NOT_A_RECORD, f"not a JSON object in UTF-8: {problem}") from None
    if request.tenant is None:
        request.tenant = EVERY
    check_key(record, request.request_id)
    return request


def _decode(value: bytes) -> Request:
    try:
        return _decode_request(value)
    except (msgspec.DecodeError, RecursionError):
        return _decode_however_odd(value)


def _decode_however_odd(value: bytes) -> Request:
    """Half a surrogate pair, which the author of a post may have written, or depth is no reason to set a request aside: a human decides."""
    try:
        return _decode_odd(value)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, RecursionError):
        if (portable := made_portable(value)) is None:
            raise
        return _decode_odd(portable)


def _decode_odd(value: bytes) -> Request:
    """Neither is a tenant or a language that nobody can read."""
    known: _Identified
    try:
        known = owned = _decode_owned(value)
        tenant = owned.tenant
    except msgspec.ValidationError:  # of the tenant; or of a field that is needed
        known, tenant = _decode_identified(value), UNREADABLE
    return Request(known.request_id, known.policy, tenant, _language(known.language))


def _language(value: msgspec.Raw) -> str | None:
    try:
        return _tags.decode(value)
    except msgspec.MsgspecError:
        return None


def check_key(record: Record, request_id: str | None) -> str:
    """The record's id: its key, which a `request_id` in the value must repeat."""
    if not record.key:
        raise Refused(DeadLetter.MISSING_KEY, "the record has no key: produce it with its request_id as the key")
    try:
        key = record.key.decode()
    except UnicodeDecodeError:
        raise Refused(DeadLetter.KEY_MISMATCH, "the record's key is not UTF-8: it must be the request_id") from None
    if request_id is not None and request_id != key:
        message = f"the record's key {short(key)} is not its request_id {short(request_id)}"
        raise Refused(DeadLetter.KEY_MISMATCH, message)
    if len(key) > MAX_NAME:
        raise Refused(DeadLetter.KEY_MISMATCH, f"the record's key is longer than {MAX_NAME} characters")
    return key


def short(text: str) -> str:
    """A name as it is shown in a message."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
