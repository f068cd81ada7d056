"""JSON messages: RuntimeData.json, as_json and as_text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.json_values import parse_json
from remotemedia.errors import PayloadError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=9,
)


@given(json_values)
def test_values_come_back(value: Any) -> None:
    data = RuntimeData.json(value, session_id="s", timestamp=1.0, metadata={"a": 1}, port="p", origin=7)
    assert (data.type, data.session_id, data.timestamp, data.metadata) == (DataType.JSON, "s", 1.0, {"a": 1})
    assert (data.port, data.origin) == ("p", 7)
    assert data.as_json() == value
    assert data.payload == data.as_text() == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert data.size == len(data.as_text().encode())


def test_the_message_is_what_the_value_was() -> None:
    value = {"a": (1, [2])}
    data = RuntimeData.json(value)
    value["b"] = (3, [])
    assert data.as_json() == {"a": [1, [2]]}
    assert data.as_json() is not data.as_json()
    assert repr(RuntimeData.json({"a": "é"}, timestamp=1.0)) == (
        """RuntimeData(type=<DataType.JSON: 'json'>, payload=<'{"a":"é"}' (9 characters)>, timestamp=1.0)"""
    )


def _deep() -> Any:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def _circle() -> Any:
    value: dict[str, Any] = {}
    value["a"] = [value]
    return value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": [0, {"b": {1}}]}, r"value\['a'\]\[1\]\['b'\] is \{1\}, which is not JSON: Object of type set is not"),
        ({1}, r"value is \{1\}, which is not JSON: Object of type set"),
        (b"{}", "value is b'{}', which is not JSON: Object of type bytes"),
        ([{"a": {1: 2}}], r"value\[0\]\['a'\] is \{1: 2\}, which is not JSON: key 1 is not a str"),
        ({1: 2}, "value is not JSON: key 1 is not a str"),
        ({"a": [1.0, float("nan")]}, r"value\['a'\]\[1\] is nan, which is not JSON: .*; None can stand for it"),
        (float("-inf"), "value is -inf, which is not JSON: .*; None can stand for it"),
        ({"n": np.int64(3)}, r"value\['n'\] is .*, which is not JSON: .* use its tolist\(\)"),
        (np.zeros(10**6), r"^RuntimeData.json: value is array\(.{,250} use its tolist\(\)"),
        ({"a": ["\ud800"]}, r"value\['a'\]\[0\] is '\\ud800', which is not JSON: '\\ud800' is half of a character"),
        ({"a": {"\udfff": 1}}, r"value\['a'\] is .*, which is not JSON: '\\udfff' is half of a character"),
        (_deep(), "the value is not JSON: it is nested too deep"),
        (_circle(), "the value is not JSON: it holds itself"),
    ],
)  # fmt: skip
def test_what_is_not_json_says_where(value: Any, why: str) -> None:
    with pytest.raises(PayloadError, match=f"RuntimeData.json: .*{why.removeprefix('^RuntimeData.json: ')}") as caught:
        RuntimeData.json(value)
    assert len(str(caught.value)) < 500


def test_text_that_is_json_is_read_too() -> None:
    assert RuntimeData.text(' {"a": [1, null]}\n').as_json() == {"a": [1, None]}
    assert RuntimeData(DataType.JSON, "[1.5]").as_json() == [1.5]


@pytest.mark.parametrize(
    ("data", "kind", "why"),
    [
        (RuntimeData.text("{"), ValueError, "the payload is not JSON: Expecting property name"),
        (RuntimeData.text("NaN"), ValueError, "the payload is not JSON: NaN is not a JSON value"),
        (RuntimeData.text("1e999"), ValueError, "1e999 is not a JSON value"),
        (RuntimeData(DataType.JSON, "[" * 100_000), ValueError, "the payload is not JSON: it is nested too deep"),
        (RuntimeData(DataType.JSON, "1" * 10_000), ValueError, "a number of 10000 digits, 1{20}..., is too long"),
        (RuntimeData.tensor(np.zeros(3)), TypeError, "json is for JSON and TEXT, not for TENSOR; use .payload"),
        (RuntimeData(DataType.JSON, b"{}"), TypeError, r"needs a str, not bytes; bytes\(data.payload\).decode\(\)"),
    ],
)
def test_what_is_not_json_text_says_so(data: RuntimeData, kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=f"RuntimeData.as_.*{why}"):
        data.as_json()


def test_as_text() -> None:
    assert RuntimeData.text("hé").as_text() == "hé"
    assert RuntimeData.json(["hé"]).as_text() == '["hé"]'
    with pytest.raises(TypeError, match=r"as_text is for TEXT and JSON, not for AUDIO; use \.payload"):
        RuntimeData.audio(np.zeros(3), 8000).as_text()
    with pytest.raises(TypeError, match=r"needs a str, not memoryview; bytes\(data.payload\).decode\(\) may make one"):
        RuntimeData(DataType.TEXT, memoryview(b"a")).as_text()


@given(st.text() | json_values.map(json.dumps))
def test_texts_are_read_as_by_any_reader_or_refused(text: str) -> None:
    try:
        value = parse_json(text)
    except ValueError:
        return
    assert value == json.loads(text)
