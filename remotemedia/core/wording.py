"""Messages in words: their ``repr``, how to make one, and what is wrong with their metadata.

Loaded only when such a text is needed. Whatever a message holds, the text is short.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData, VideoMetadata
from remotemedia.core.layouts import frame_rate, whole_number
from remotemedia.errors import PayloadError

__all__ = ["entry_refused", "maker_for", "message_shown", "value_refused", "with_whole_numbers"]

_SHOWN_CHARS = 60
_SHOWN_BYTES = 16
_RANGE_OF = 1 << 18
"""How many values are read for the range: about a millisecond."""

_OFTEN_EMPTY = ("session_id", "port", "sequence", "origin")

_short = reprlib.Repr()
_short.maxlevel, _short.maxdict, _short.maxlist, _short.maxtuple = 3, 8, 6, 6
_short.maxstring = _short.maxlong = _SHOWN_CHARS
_short.maxother = 2 * _SHOWN_CHARS  # AudioMetadata and VideoMetadata


# --- what a message is -----------------------------------------------------------------------------------------


def message_shown(data: RuntimeData) -> str:
    """``RuntimeData(type=<DataType.AUDIO: 'audio'>, payload=<float32 (16000,) from -0.5 to 0.5>, ...)``; fields
    with their default are left out."""
    parts = []
    for name in type(data).__dataclass_fields__:
        value = getattr(data, name, None)  # a field may be deleted, or not filled yet
        if value is None or (name in _OFTEN_EMPTY and isinstance(value, str | int) and not value):
            continue
        shown = f"<{_payload_shown(value)}>" if name == "payload" else _short.repr(value)
        parts.append(f"{name}={shown}")
    return f"{type(data).__name__}({', '.join(parts)})"


def _payload_shown(payload: object) -> str:
    try:
        if isinstance(payload, np.ndarray):
            return _array_shown(payload.view(np.ndarray))
        if isinstance(payload, str):
            more = "..." if len(payload) > _SHOWN_CHARS else ""
            return f"{payload[:_SHOWN_CHARS]!r}{more} ({_counted(len(payload), 'character')})"
        if isinstance(payload, bytes | bytearray | memoryview):
            view = memoryview(payload)
            size = _counted(view.nbytes, "byte")
            if view.ndim != 1 or view.itemsize != 1:
                return f"{size} ({view.format} {view.shape})"
            more = " ..." if len(view) > _SHOWN_BYTES else ""
            return f"{size} ({view[:_SHOWN_BYTES].tobytes().hex(' ')}{more})"
    except Exception as error:  # a released memoryview, a subclass with its own methods
        return f"{type(payload).__name__} that cannot be shown ({type(error).__name__})"
    return _short.repr(payload)


def _array_shown(array: np.ndarray[Any, Any]) -> str:
    dtype = str(array.dtype)
    text = f"{dtype if len(dtype) <= _SHOWN_CHARS else dtype[:_SHOWN_CHARS] + '...'} {array.shape}"
    if array.dtype.kind not in "iuf" or not array.size:
        return text
    part, scope = array, ""
    if array.size > _RANGE_OF:
        # A contiguous array is not copied, any other only as far as it is read.
        rows = max(1, _RANGE_OF // math.prod(array.shape[1:]))
        part = array[:rows] if rows > 1 or array.ndim == 1 else array.flat[:_RANGE_OF]
        scope = f" (the first {part.size:,} of {array.size:,})"
    if array.dtype.kind == "f":
        finite = part[np.isfinite(part)]
        others = part.size - finite.size
        if others:
            scope += f", {_counted(others, 'value')} not finite"
        if not finite.size:
            return text + scope
        part = finite
    low, high = part.min(), part.max()
    between = f"all {low:g}" if low == high else f"from {low:g} to {high:g}"
    return f"{text} {between}{scope}"


def _counted(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


# --- how to make one -------------------------------------------------------------------------------------------


def maker_for(value: object, types: Collection[DataType] = tuple(DataType)) -> str:
    """How to make a message of one of ``types`` from ``value``, which is not a message."""
    found = _makers(value, types)
    ways = [found[kind] for kind in DataType if kind in types and kind in found]
    if ways:
        return f"{' or '.join(ways)} makes one"
    allowed = " or ".join(kind.name for kind in DataType if kind in types and kind is not DataType.CONTROL)
    return f"it cannot become {allowed}" if allowed else "nothing can be sent there"


def _makers(value: object, types: Collection[DataType]) -> dict[DataType, str]:
    if isinstance(value, str):
        if DataType.TEXT not in types:
            return {DataType.JSON: "RuntimeData.json(json.loads(x))"}
        return {DataType.TEXT: "RuntimeData.text(x)"}
    if isinstance(value, bytes | bytearray | memoryview):
        return {
            DataType.AUDIO: "RuntimeData.audio(np.frombuffer(x, np.int16), sample_rate)",
            DataType.TEXT: "RuntimeData.text(bytes(x).decode())",
            DataType.TENSOR: "RuntimeData.tensor(x)",
        }
    if isinstance(value, np.ndarray):
        return _makers_of_arrays("x")
    if isinstance(value, dict):
        if DataType.JSON in types:
            return {DataType.JSON: "RuntimeData.json(x)"}
        return {DataType.TEXT: "RuntimeData.text(json.dumps(x))"}
    if isinstance(value, list | tuple | int | float):
        return {**_makers_of_arrays("np.asarray(x)"), DataType.JSON: "RuntimeData.json(x)"}
    if isinstance(value, np.generic) or hasattr(value, "__array__"):
        return _makers_of_arrays("np.asarray(x)")
    return {}


def _makers_of_arrays(array: str) -> dict[DataType, str]:
    return {
        DataType.AUDIO: f"RuntimeData.audio({array}, sample_rate)",
        DataType.VIDEO: f"RuntimeData.video({array}, format)",
        DataType.TENSOR: f"RuntimeData.tensor({array})",
    }


# --- what is wrong in it ----------------------------------------------------------------------------------


def with_whole_numbers(metadata: AudioMetadata | VideoMetadata) -> AudioMetadata | VideoMetadata:
    """The same with numbers that can be packed, such as 16000 for 16000.0; else PayloadError, which names the field."""
    audio = isinstance(metadata, AudioMetadata)
    owner = "AudioMetadata" if audio else "VideoMetadata"
    values: dict[str, Any] = {}
    try:
        for name in ("sample_rate", "channels") if audio else ("width", "height"):
            values[name] = whole_number(f"its {name}", getattr(metadata, name, None))
        values["format"] = _checked_text("its format", getattr(metadata, "format", None))
        if not audio:
            values["fps"] = frame_rate("its fps", getattr(metadata, "fps", None))
    except (TypeError, ValueError) as error:
        raise PayloadError(f"{owner} cannot travel: {error}") from None
    return AudioMetadata(**values) if audio else VideoMetadata(**values)


def _checked_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {_short.repr(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} {_short.repr(value)} is not text: {error.reason}") from None
    return value


def entry_refused(metadata: dict[Any, Any], error: Exception) -> str:
    """Which entry of ``metadata`` JSON refuses, and why."""
    if isinstance(error, RecursionError) or "Circular" in str(error):  # too deep to be shown, or without an end
        return f"metadata of a dict cannot travel: {error}"
    return _refused_in(metadata, "metadata", "cannot travel", error, _is_refused)


def value_refused(value: object, error: Exception) -> str:
    """Which place in ``value`` is not JSON, and why."""
    if isinstance(error, RecursionError):
        return "RuntimeData.json: the value is not JSON: it is nested too deep"
    if "Circular" in str(error):
        return "RuntimeData.json: the value is not JSON: it holds itself"
    if isinstance(error, UnicodeEncodeError):
        error = ValueError(f"{error.object[error.start]!a} is half of a character")
    return "RuntimeData.json: " + _refused_in(value, "value", "is not JSON", error, _is_no_json)


def _refused_in(outer: object, name: str, verdict: str, error: Exception, is_refused: Callable[[Any], bool]) -> str:
    at, place = _wrong_entry(outer, name, 20, is_refused) or (outer, name)
    hint = ""
    if isinstance(at, np.ndarray | np.generic):
        hint = "; use its tolist()"
    elif isinstance(at, float):
        hint = "; None can stand for it"
    shown = "" if at is outer and isinstance(at, dict) else f" is {_short.repr(at)}, which"
    return f"{place}{shown} {verdict}: {error}{hint}"


def _wrong_entry(value: Any, place: str, levels: int, is_refused: Callable[[Any], bool]) -> tuple[Any, str] | None:
    """The innermost value that JSON refuses, and where it is; None if there is none, or it is too deep to be shown."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value) or any(map(is_refused, value)):
            return value, place
        entries: Any = value.items()
    elif isinstance(value, list | tuple):
        entries = enumerate(value)
    else:
        return (value, place) if is_refused(value) else None
    for key, entry in entries if levels else ():
        if found := _wrong_entry(entry, f"{place}[{_short.repr(key)}]", levels - 1, is_refused):
            return found
    return None


def _is_refused(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return True
    return False


def _is_no_json(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError):
        return True
    return False
