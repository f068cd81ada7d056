"""ControlMessage <-> marks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import remotemedia_v1_pb2 as pb

from remotemedia.core.data import DataType, RuntimeData, encode_metadata
from remotemedia.core.marks import zero_samples
from remotemedia.wire.texts import read_json_object

__all__ = ["as_understood", "read_control", "write_control"]


def read_control(control: pb.ControlMessage) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Payload and metadata of the mark; ValueError for a message that is not one."""
    metadata = read_json_object(control.metadata, "ControlMessage.metadata")
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"ControlMessage.metadata has {name!r} for a name; a mark has the name of what it marks")
    return np.empty(0, np.float32), {"name": name, "value": metadata["value"]} if "value" in metadata else {
        "name": name
    }


def write_control(data: RuntimeData) -> pb.ControlMessage:
    """The message for a mark; TypeError for one without a name, PayloadError for a value that is not JSON."""
    if not data.mark or not isinstance(data.metadata, dict):
        raise TypeError("a mark has a name: RuntimeData.control(name, value)")
    encode_metadata(data.metadata)  # names the mistake in it, but lets pass values that only Python takes for JSON
    text = json.dumps(data.metadata, separators=(",", ":"), allow_nan=False)
    return pb.ControlMessage(metadata=text, timestamp_ms=max(0, int(data.timestamp * 1000)))


def as_understood(data: RuntimeData, *, marks: bool) -> RuntimeData | None:
    """What a client gets of an output, who understands ``marks`` or does not: None where that is nothing."""
    if marks or data.type is not DataType.CONTROL:
        return data
    return zero_samples(data)
