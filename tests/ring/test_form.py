"""The form of messages: what a message class must be, and callbacks that fail half-way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from remotemedia import _ring
from remotemedia.core.data import DataType, RuntimeData, decode_metadata, encode_metadata
from remotemedia.core.dtypes import decode_dtype, encode_dtype
from remotemedia.errors import ChannelCorruptedError, PayloadError

Pairs = Callable[..., Any]


def form(cls: type = RuntimeData, **callbacks: Any) -> _ring.MessageForm:
    usual = {
        "encode_metadata": encode_metadata,
        "decode_metadata": decode_metadata,
        "encode_dtype": encode_dtype,
        "decode_dtype": decode_dtype,
        "timestamp": float,
        "refuse": lambda payload: None,
    }
    return _ring.MessageForm(cls, tuple(DataType), **{**usual, **callbacks})


class NoSlots:
    type = payload = session_id = timestamp = metadata = port = sequence = origin = None


class Properties(RuntimeData):
    @property
    def payload(self) -> Any:  # type: ignore[override]
        return None


@pytest.mark.parametrize("cls", [NoSlots, Properties, int])
def test_a_class_without_the_fields_is_refused(cls: type) -> None:
    """Its fields would be read and written where it has none."""
    with pytest.raises(TypeError, match="must have __slots__ with type, payload"):
        form(cls)


@dataclass(slots=True)
class Longer(RuntimeData):
    extra: int = 7


def test_a_subclass_travels_as_what_it_is_a_subclass_of(pair: Pairs) -> None:
    p = pair()
    p.producer.put(Longer(DataType.TEXT, "x", "s", 1.0))
    got = p.take()
    assert type(got) is RuntimeData
    assert got == RuntimeData(DataType.TEXT, "x", "s", 1.0)


def test_a_subclass_makes_its_own_fields() -> None:
    made = Longer.tensor(np.arange(3), session_id="s")
    assert type(made) is Longer
    assert (made.extra, made.session_id, made.payload.tolist()) == (7, "s", [0, 1, 2])


def test_a_received_message_is_an_ordinary_object(pair: Pairs) -> None:
    p = pair()
    p.put(np.arange(3), session="s", metadata={"a": [1]})
    got = p.take()
    assert replace(got, session_id="t").session_id == "t"
    got.payload = got.metadata = None
    assert repr(got).startswith("RuntimeData(type=<DataType.AUDIO")


def test_a_deleted_field_is_an_error_not_a_crash(pair: Pairs) -> None:
    p = pair()
    for name in set(_ring.MessageForm.FIELDS) - {"sequence"}:  # which is not read
        message = RuntimeData.text("x")
        delattr(message, name)
        with pytest.raises(AttributeError):
            p.producer.put(message)
    assert p.own.used_bytes == 0


@pytest.mark.parametrize("kind", list(DataType))
def test_types_come_back(pair: Pairs, kind: DataType) -> None:
    p = pair()
    p.producer.put(RuntimeData(kind, "x"))
    assert p.take().type is kind


@pytest.mark.parametrize("code", [len(DataType), 255])
def test_an_unknown_type_is_corruption(pair: Pairs, code: int) -> None:
    p = pair()
    p.put("x")
    p.poke_ring("B", p.SLOTS + 28, code)
    with pytest.raises(ChannelCorruptedError, match="unknown data type"):
        p.take()


def test_handler_that_raises_while_a_message_is_read_loses_nothing(pair: Pairs) -> None:
    """Where a message is half taken, Python code runs, and with it a signal's handler."""
    interrupted = True

    def decode(*raw: Any) -> Any:
        if interrupted:
            raise KeyboardInterrupt
        return decode_dtype(*raw) if len(raw) == 1 else decode_metadata(*raw)

    p = pair(form=form(decode_dtype=decode, decode_metadata=decode))
    p.put(np.arange(5, dtype=">i2"))
    p.put(np.arange(5, dtype=">i2"), metadata={"a": 1})
    for expected in (128, 64):
        interrupted = True
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                p.take()
        assert p.own.used_bytes == expected
        interrupted = False
        assert p.take_payload().tolist() == [0, 1, 2, 3, 4]
    assert p.own.used_bytes == 0


def test_what_a_handler_raises_inside_a_dtype_is_no_corruption(pair: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time limit by signal, say: the channel is as sound as before."""

    class OutOfTime(Exception):
        pass

    def interrupted(description: object) -> None:
        raise OutOfTime

    p = pair()
    array = np.arange(5, dtype=">i2")
    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "descr_to_dtype", interrupted)
        with pytest.raises(OutOfTime):
            p.put(array)
    p.put(array)
    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "descr_to_dtype", interrupted)
        with pytest.raises(OutOfTime):
            p.take()
    assert p.take_payload().tolist() == [0, 1, 2, 3, 4]


def test_a_dtype_that_cannot_be_read_again_is_refused_and_the_channel_goes_on(pair: Pairs) -> None:
    p = pair()
    nested = np.dtype("f4")
    for _ in range(300):
        nested = np.dtype([("a", nested)])
    with pytest.raises(PayloadError, match="cannot be described"):
        p.put(np.zeros(1, nested))
    p.put(np.arange(3))
    assert p.take_payload().tolist() == [0, 1, 2]


def test_message_stays_whole_where_memory_runs_out(pair: Pairs) -> None:
    """Whichever allocation fails while it is made or read, nothing is lost, given back twice, or of another session."""
    failing = pytest.importorskip("_testcapi")
    p = pair()
    held = []  # so that no float or int is made from a free list
    for at in range(40):
        message = RuntimeData(DataType.TENSOR, np.arange(6).reshape(2, 3).T, f"session {at} " * 12, 2.5, port=f"{at}")
        try:
            failing.set_nomemory(at, at + 1)
            try:
                status = p.producer.put(message)
            finally:
                failing.remove_mem_hooks()
        except MemoryError:
            assert p.own.used_bytes == 0
            status = p.producer.put(message)
        assert status == _ring.OK
        used = p.own.used_bytes
        held.append([float(i) for i in range(200)])
        try:
            failing.set_nomemory(at, at + 1)
            try:
                got = p.take()
            finally:
                failing.remove_mem_hooks()
        except MemoryError:
            assert p.own.used_bytes == used
            got = p.take()
        assert got == message
        assert got.port == f"{at}"
        del got
        assert p.own.used_bytes == 0
