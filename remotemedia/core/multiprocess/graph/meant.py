"""Which message a plain value sent to a node stands for, by the node's declaration."""

from __future__ import annotations

import numpy as np

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.wording import maker_for

__all__ = ["message_meant"]

_TEXTS = {DataType.TEXT, DataType.JSON}


def message_meant(value: object, declared: frozenset[DataType] | None, node_id: str, port: str) -> RuntimeData:
    """The message that ``value`` stands for on a port that declares these types. If that is not certain, a TypeError
    says how to make a message.

    Where text is taken, a str can only be text. A dict can only be JSON, and so can a list where no arrays are taken.
    An array or bytes may be anything except text and JSON; only a tensor needs no further metadata, so only a tensor
    can be certain.
    """
    if declared is not None:
        if isinstance(value, str) and DataType.TEXT in declared:
            return RuntimeData.text(value)
        if isinstance(value, dict) and DataType.JSON in declared:
            return RuntimeData.json(value)
        if isinstance(value, list) and DataType.JSON in declared and declared <= _TEXTS:
            return RuntimeData.json(value)
        if isinstance(value, np.ndarray) and declared - _TEXTS == {DataType.TENSOR}:
            return RuntimeData.tensor(value)
        if isinstance(value, bytes | bytearray | memoryview) and declared == {DataType.TENSOR}:
            return RuntimeData(DataType.TENSOR, memoryview(value))
    types = tuple(DataType) if declared is None else declared
    takes = "RuntimeData" if declared is None else " or ".join(kind.name for kind in DataType if kind in declared)
    raise TypeError(
        f"node {node_id!r} takes {takes} on port {port!r}, not {type(value).__name__}; {maker_for(value, types)}"
    )
