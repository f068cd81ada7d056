"""Plain values sent to a node: which message they stand for, by the types that its port declares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import Pipeline
from remotemedia.errors import PayloadError

ARRAY = np.zeros(3, np.float32)
TAKES = Pipeline().add_node("t-takes", "a")


@pytest.mark.parametrize(
    ("port", "value", "kind", "payload"),
    [
        ("json", {"a": [1, None]}, DataType.JSON, '{"a":[1,null]}'),
        ("json", [1, None], DataType.JSON, "[1,null]"),
        ("words", {}, DataType.JSON, "{}"),
        ("words", ["a"], DataType.JSON, '["a"]'),
        ("words", "a", DataType.TEXT, "a"),
        ("rows", {"a": 1}, DataType.JSON, '{"a":1}'),
        ("rows", ARRAY, DataType.TENSOR, ARRAY),
    ],
)
def test_what_is_certain(px: Any, port: str, value: Any, kind: DataType, payload: Any) -> None:
    data = TAKES.as_message("a", value, port)
    assert data == RuntimeData(kind, payload, timestamp=data.timestamp)


@pytest.mark.parametrize(
    ("port", "value", "said"),
    [
        ("rows", [1.5], r"not list; RuntimeData.tensor\(np.asarray\(x\)\) or RuntimeData.json\(x\) makes one"),
        ("json", "{}", r"takes JSON on port 'json', not str; RuntimeData.json\(json.loads\(x\)\) makes one"),
        ("json", 1.5, r"takes JSON on port 'json', not float; RuntimeData.json\(x\) makes one"),
        ("json", ARRAY, r"takes JSON on port 'json', not ndarray; it cannot become JSON"),
        ("text", {"a": 1}, r"not dict; RuntimeData.text\(json.dumps\(x\)\) makes one"),
        ("any", {"a": 1}, r"takes RuntimeData on port 'any', not dict; RuntimeData.json\(x\) makes one"),
        ("audio", {"a": 1}, r"takes AUDIO on port 'audio', not dict; it cannot become AUDIO"),
    ],
)
def test_what_is_not_says_how_to_make_it(px: Any, port: str, value: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"^node 'a' .*{said}"):
        TAKES.as_message("a", value, port)


def test_a_value_that_is_not_json_says_where(px: Any) -> None:
    with pytest.raises(PayloadError, match=r"value\['a'\] is \{1\}, which is not JSON"):
        TAKES.as_message("a", {"a": {1}}, "json")


def test_input_types(px: Any) -> None:
    types = TAKES.input_types
    assert types("a", "words") == {DataType.TEXT, DataType.JSON}
    assert types("a", "any") is types("a") is None
    other = Pipeline().add_node("t-other-names", "b").add_node("t-echo", "c")
    assert other.input_types("b") == other.input_types("b", "text_in") == {DataType.TEXT}
    assert other.input_types("c") is None
