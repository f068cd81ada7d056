"""TextBuffer, JsonData and FileBuffer <-> a str. Of text, the metadata say which of the three it is."""

from __future__ import annotations

import json
from encodings.aliases import aliases
from typing import Any

import remotemedia_v1_pb2 as pb

from remotemedia._telling import shown
from remotemedia.core.data import Payload
from remotemedia.core.json_values import parse_json
from remotemedia.errors import PayloadError
from remotemedia.wire.arrays import take_text

__all__ = [
    "JSON_MIME_TYPE",
    "check_whole_characters",
    "parse_json",
    "read_file",
    "read_json",
    "read_json_object",
    "read_json_text",
    "read_text",
    "write_json",
    "write_text",
]

JSON_MIME_TYPE = "application/json"
# Not any name: Python looks for a module of it, and remembers each that it did not find.
_ENCODINGS = frozenset(aliases) | frozenset(aliases.values())
_FILE_FIELDS = ("filename", "mime_type", "size", "offset", "length", "stream_id")


def read_text(buffer: pb.TextBuffer) -> tuple[str, dict[str, Any]]:
    encoding = buffer.encoding or "utf-8"
    if encoding.lower().replace("-", "_").replace(" ", "_") not in _ENCODINGS:
        raise ValueError(f"TextBuffer.encoding {shown(encoding, 40)} is not known; use 'utf-8'")
    try:
        text = buffer.text_data.decode(encoding)
        if not text.isascii():
            text.encode()  # UTF-7 can say halves of characters, which no other text can have in it
    except (LookupError, ValueError) as error:
        raise ValueError(f"TextBuffer.text_data is not text in {encoding}: {error}") from None
    return text, {key: value for key in ("language", "channel") if (value := getattr(buffer, key))}


def read_json(buffer: pb.JsonData) -> tuple[str, dict[str, Any]]:
    read_json_text(buffer.json_payload, "JsonData.json_payload")
    return buffer.json_payload, {"schema_type": buffer.schema_type} if buffer.schema_type else {}


def read_file(buffer: pb.FileBuffer) -> tuple[str, dict[str, Any]]:
    if not buffer.path:
        raise ValueError("FileBuffer.path is empty")
    return buffer.path, {"file": {key: value for key in _FILE_FIELDS if (value := getattr(buffer, key))}}


def write_text(payload: Payload, rest: dict[str, Any], out: pb.DataBuffer) -> None:
    """Sets the member of ``out`` that fits; takes from ``rest`` what that can say."""
    if not isinstance(payload, str):
        raise PayloadError(f"text needs a str, and has {type(payload).__name__}")
    if (file := _file_of(payload, rest)) is not None:
        del rest["file"]
        out.file.CopyFrom(file)
    elif rest.get("mime_type") == JSON_MIME_TYPE and _is_json(payload):
        del rest["mime_type"]
        out.json.json_payload = payload
        out.json.schema_type = take_text(rest, "schema_type")
    else:
        out.text.text_data = payload.encode()
        out.text.encoding = "utf-8"
        out.text.language = take_text(rest, "language")
        out.text.channel = take_text(rest, "channel")


def write_json(payload: Payload, rest: dict[str, Any], out: pb.DataBuffer) -> None:
    """Sets ``out.json``; takes from ``rest`` what that can say."""
    if not isinstance(payload, str):
        raise PayloadError(f"json needs a str, its text, and has {type(payload).__name__}")
    read_json_text(payload, "its payload")
    out.json.json_payload = payload
    out.json.schema_type = take_text(rest, "schema_type")


def _file_of(path: str, metadata: dict[str, Any]) -> pb.FileBuffer | None:
    """None when the metadata's "file" is somebody's own, not what ``read_file`` makes."""
    try:
        file = pb.FileBuffer(path=path, **metadata["file"])
        return file if read_file(file) == (path, {"file": metadata["file"]}) else None
    except (KeyError, TypeError, ValueError):
        return None


def read_json_text(text: str | bytes, field: str) -> Any:
    """The value of ``field``'s JSON; ValueError when it is not JSON."""
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{field} is not JSON: {error}") from None


def read_json_object(text: str | bytes, field: str) -> dict[str, Any]:
    """The JSON object that ``field`` has; ValueError when it has none, or one whose texts cannot be sent on."""
    value = read_json_text(text, field)
    if not isinstance(value, dict):
        raise ValueError(f"{field} is not a JSON object, but a {type(value).__name__}")
    check_whole_characters(value, field)
    return value


def check_whole_characters(value: object, field: str) -> None:
    r"""ValueError for a value of JSON with half of a character in it, such as ``"\ud800"``."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise ValueError(f"{field}: {half} is half of a character") from None


def _is_json(text: str) -> bool:
    try:
        read_json_text(text, "")
    except ValueError:
        return False
    return True
