"""A message and its payloads, kept apart: the bytes of a payload are copied neither to read nor to parse a message.

A received message is parsed with a token, four bytes, in the place of each payload. What protobuf does with a field
that comes twice (the last one wins, or they are merged) it does with the tokens, and so with the payloads.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import remotemedia_v1_pb2 as pb
from google.protobuf.message import DecodeError, EncodeError, Message

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

__all__ = ["Envelope", "add_payload", "decode", "encode", "payload_at"]

M = TypeVar("M", bound=Message)


@dataclass
class Envelope(Generic[M]):
    """One message.

    Attributes:
        message: the message, with a token in each payload field that is not empty.
        payloads: what the tokens stand for: contiguous, of format "B".
    """

    message: M
    payloads: list[memoryview] = field(default_factory=list)


def decode(kind: type[M], raw: bytes) -> Envelope[M]:
    """The message that ``raw`` is; its payloads are views of ``raw``. ValueError when it is not one."""
    payloads: list[memoryview] = []

    def take(payload: memoryview) -> bytes:
        return add_payload(payloads, payload)

    try:
        small = _Splicer(kind, raw, take).result()
        return Envelope(kind.FromString(small), payloads)
    except DecodeError:
        why = "it is cut short, damaged, nested too deep, or has text that is not UTF-8"
    except ValueError as error:
        why = str(error)
    raise ValueError(f"{len(raw)} bytes are not a {kind.DESCRIPTOR.full_name}: {why}")


def encode(envelope: Envelope[Any]) -> bytes:
    """The bytes of the message with its payloads in it, each copied once. ValueError for a token without a payload."""
    payloads = envelope.payloads

    def put(token: memoryview) -> memoryview:
        return payload_at(token, payloads)

    try:
        small = envelope.message.SerializeToString()
    except EncodeError as error:
        raise ValueError(f"the message cannot be serialized: {error}") from None
    return _Splicer(type(envelope.message), small, put).result()


# --- tokens ------------------------------------------------------------------------------------------------------

_TOKEN = struct.Struct("<I")


def add_payload(payloads: list[memoryview], payload: memoryview) -> bytes:
    """Appends ``payload``; what its field in the message holds instead. An empty payload is an empty field."""
    if not payload.nbytes:
        return b""
    payloads.append(payload)
    return _TOKEN.pack(len(payloads) - 1)


def payload_at(token: bytes | memoryview, payloads: Sequence[memoryview]) -> memoryview:
    """The payload that ``token`` stands for; ValueError when there is none."""
    if not token:
        return _EMPTY
    if len(token) == _TOKEN.size:
        index: int = _TOKEN.unpack(token)[0]
        if index < len(payloads):
            return payloads[index]
    raise ValueError("a payload field holds something other than the token of a payload")


_EMPTY = memoryview(b"")

# --- where payloads are -------------------------------------------------------------------------------------------

# By tag, which is the field's number and wire type 2: what is below it, None for a payload itself, and for what is not
# walked how long it may be.
_Paths: TypeAlias = "dict[int, _Paths | int | None]"

_PAYLOAD_FIELDS = {
    "AudioBuffer.samples",
    "VideoFrame.pixel_data",
    "TensorBuffer.data",
    "NumpyBuffer.data",
    "BinaryBuffer.data",
}
_LENGTH_DELIMITED = 2
_PARTS_OF_MANIFESTS = {"PipelineManifest", "ManifestMetadata", "NodeManifest"}
# Two bytes can say a node, or a value of a Struct, of which protobuf makes a hundred.
_MOST_MANIFEST_BYTES = 4 << 20


def _paths_below(kind: Descriptor) -> _Paths:
    paths: _Paths = {}
    for each in kind.fields:
        tag = each.number << 3 | _LENGTH_DELIMITED
        if f"{kind.name}.{each.name}" in _PAYLOAD_FIELDS:
            paths[tag] = None
        # Struct, which holds itself, is of another file, and has no payload.
        elif each.message_type is not None and each.message_type.file is pb.DESCRIPTOR:
            below = _paths_below(each.message_type)
            if each.message_type.name in _PARTS_OF_MANIFESTS:
                paths[tag] = _MOST_MANIFEST_BYTES
            elif below:
                paths[tag] = below
    return paths


_PATHS = {getattr(pb, name): _paths_below(kind) for name, kind in pb.DESCRIPTOR.message_types_by_name.items()}

# --- the wire format ----------------------------------------------------------------------------------------------

# Walking takes Python's time, of which a client must not get as much as it likes; a chunk has about ten fields.
# A server's answer may have many: all outputs of a pipeline at once.
_MAX_FIELDS = 100_000
_REQUESTS = (pb.ExecuteRequest, pb.StreamRequest)
_CUT_SHORT = "a field ends after the message that it is in"


class _Splicer:
    """Copies a message with other bytes in the place of each payload.

    It walks only fields that can hold a payload: the rest is copied as it is, and protobuf checks whether it is valid.
    How deep it goes is given by the paths, not by the message.
    """

    def __init__(self, kind: type[Message], raw: bytes, swap: Callable[[memoryview], bytes | memoryview]) -> None:
        self._kind = kind
        self._raw = raw
        self._view = memoryview(raw)
        self._swap = swap
        self._pieces: list[bytes | memoryview] = []
        self._fields_left = _MAX_FIELDS if kind in _REQUESTS else sys.maxsize

    def result(self) -> bytes:
        try:
            self._splice(0, len(self._raw), _PATHS[self._kind])
        except IndexError:
            raise ValueError(_CUT_SHORT) from None
        return b"".join(self._pieces)

    def _splice(self, at: int, end: int, paths: _Paths) -> int:
        """Adds the pieces of the message ``raw[at:end]``; how many bytes they are.

        It may read past ``end``, and tells so as soon as it looks where it is; past ``raw`` is an IndexError.
        """
        raw, pieces = self._raw, self._pieces
        length_now = end - at
        copied = at
        while at < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ValueError(f"it has more than {_MAX_FIELDS} fields")
            tag = raw[at]
            at += 1
            if tag > 0x7F:
                tag, at = _varint(raw, at - 1)
            wire_type = tag & 7
            if wire_type == _LENGTH_DELIMITED:
                length_at = at
                length = raw[at]
                at += 1
                if length > 0x7F:
                    length, at = _varint(raw, length_at)
                content_at = at
                at += length
                if tag in paths:
                    below = paths[tag]
                    if isinstance(below, int):
                        if length > below:
                            raise ValueError(f"its manifest has {length} bytes; {below} are allowed")
                        continue
                    pieces.append(raw[copied:length_at])
                    copied = at
                    slot = len(pieces)
                    pieces.append(b"")
                    if below is not None:
                        new_length = self._splice(content_at, at, below)
                    else:
                        content = self._swap(self._view[content_at:at])
                        pieces.append(content)
                        new_length = len(content)
                    pieces[slot] = new_length_bytes = _varint_bytes(new_length)
                    length_now += len(new_length_bytes) + new_length - (at - length_at)
            elif wire_type == 0:
                last = at + 9
                while raw[at] > 0x7F:
                    if at == last:
                        raise ValueError(_TOO_LONG)
                    at += 1
                at += 1
            elif wire_type == 5:
                at += 4
            elif wire_type == 1:
                at += 8
            else:
                # 3 and 4 are groups, which this protocol does not have.
                raise ValueError(f"a field has wire type {wire_type}, which no field here has")
        if at > end:
            raise ValueError(_CUT_SHORT)
        pieces.append(raw[copied:end])
        return length_now


_TOO_LONG = "a tag, length or number is too long"


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """The tag or length that begins at ``at``, and where it ends; ValueError when it has over 32 bits."""
    value = shift = 0
    while shift < 35:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 32:
                break
            return value, at
        shift += 7
    raise ValueError(_TOO_LONG)


def _varint_bytes(value: int) -> bytes:
    if value < 0x80:
        return _SINGLE[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SINGLE = [bytes([value]) for value in range(0x80)]
