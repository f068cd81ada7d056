"""Params and settings, in whichever of their forms a client sends them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import remotemedia_v1_pb2 as pb

from remotemedia.wire.texts import check_whole_characters, parse_json

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

__all__ = ["params_of", "settings_of"]

_STRINGIFIED = "[object Object]"
"""What JavaScript makes of an object where a string is wanted: its content is lost."""


def params_of(node: pb.NodeManifest) -> dict[str, Any]:
    """A node's params; ValueError when they are given twice, or are not a JSON object."""
    given = [
        name
        for name, there in (
            ("params", node.HasField("params")),
            ("params_map", bool(node.params_map)),
            ("params_json", bool(node.params_json)),
        )
        if there
    ]
    if len(given) > 1:
        raise ValueError(f"its params are given in {' and in '.join(given)}; one of them is enough")
    if node.HasField("params"):
        return _plain(node.params)
    if node.params_map:
        return _from_map(node.params_map, "params")
    if not node.params_json:
        return {}
    try:
        value = parse_json(node.params_json)
    except ValueError as error:
        hint = "; that is what JavaScript makes of an object: JSON.stringify() it" * (node.params_json == _STRINGIFIED)
        raise ValueError(f"its params are not JSON: {error}{hint}") from None
    if not isinstance(value, dict):
        raise ValueError(f"its params must be a JSON object, not {type(value).__name__}")
    check_whole_characters(value, "its params")
    return value


def settings_of(metadata: pb.ManifestMetadata) -> dict[str, Any]:
    """The settings of a pipeline, none when it has none; ValueError when they are given twice, or are not JSON."""
    if metadata.HasField("multiprocess") and metadata.multiprocess_map:
        raise ValueError("the settings are given in multiprocess and in multiprocess_map; one of them is enough")
    if metadata.HasField("multiprocess"):
        return _plain(metadata.multiprocess)
    return _from_map(metadata.multiprocess_map, "multiprocess")


def _plain(struct: Struct) -> dict[str, Any]:
    """A Struct has doubles only: an integral one was meant as an integer."""
    return {key: _plain_value(value) for key, value in struct.fields.items()}


def _plain_value(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number: float = value.number_value
            if not math.isfinite(number):
                raise ValueError(f"{number} is not a JSON value")
            return int(number) if number.is_integer() else number
        case "struct_value":
            return _plain(value.struct_value)
        case "list_value":
            return [_plain_value(item) for item in value.list_value.values]
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
    return None


def _from_map(entries: Mapping[str, str], what: str) -> dict[str, Any]:
    """Each value is JSON, or else the string it is."""
    found = {}
    for key, text in entries.items():
        if text == _STRINGIFIED:
            raise ValueError(f"{what}[{key!r}] is {text!r}: that is what JavaScript makes of an object; stringify it")
        try:
            found[key] = parse_json(text)
        except ValueError:
            found[key] = text
        check_whole_characters(found[key], f"{what}[{key!r}]")
    return found
