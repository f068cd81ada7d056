"""What cannot travel is refused at once, in words that say why, and the channel goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData, VideoMetadata
from remotemedia.core.dtypes import encode_dtype
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelClosedError, PayloadError

Channels = Callable[..., tuple[Publisher, Subscriber]]

T = DataType.TENSOR

PATIENCE_SECS = 20
"""Nothing is expected to take this long: it makes one test fail where the watchdog would end the whole run."""

POOL_BYTES = 8192


def _circle() -> dict[str, Any]:
    inside: dict[str, Any] = {}
    inside["self"] = inside
    return inside


def _deep() -> dict[str, Any]:
    outer: dict[str, Any] = {}
    at = outer
    for _ in range(100_000):
        at["a"] = at = {}
    return outer


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "not a RuntimeData": (
        lambda: np.zeros(3),
        TypeError,
        r"publish takes a RuntimeData, not ndarray; RuntimeData.audio\(x, sample_rate\) or .*RuntimeData.tensor\(x\) m",
    ),
    "a str": (lambda: "hello", TypeError, r"publish takes a RuntimeData, not str; RuntimeData.text\(x\) makes one"),
    "bytes alone": (
        lambda: b"x",
        TypeError,
        r"not bytes; .*np.int16.*decode\(\)\) or RuntimeData.tensor\(x\) makes one",
    ),
    "a dict alone": (lambda: {"a": 1}, TypeError, r"not dict; RuntimeData.json\(x\) makes one"),
    "a list alone": (
        lambda: [1.5],
        TypeError,
        r"not list; .*RuntimeData.tensor\(np.asarray\(x\)\) or .*json\(x\) makes one",
    ),
    "nothing": (lambda: None, TypeError, r"not NoneType; it cannot become AUDIO or VIDEO or TEXT or TENSOR"),
    "a list": (lambda: RuntimeData(T, [1, 2]), TypeError, r"must be a numpy array, bytes or str, not list"),
    "a numpy scalar": (lambda: RuntimeData(T, np.float32(1)), TypeError, r"not float32"),
    "None": (lambda: RuntimeData(T, None), TypeError, r"not NoneType"),
    "objects": (lambda: RuntimeData(T, np.array([{}])), PayloadError, r"hold Python objects"),
    "nested objects": (
        lambda: RuntimeData(T, np.zeros(2, [("a", [("b", object)])])),
        PayloadError,
        r"hold Python objects",
    ),
    "variable-width strings": (
        lambda: RuntimeData(T, np.array(["a"], np.dtypes.StringDType())),
        PayloadError,
        r"StringDType.*use a fixed-size dtype",
    ),
    "overlapping fields": (
        lambda: RuntimeData(T, np.zeros(2, {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2]})),
        PayloadError,
        r"overlapping or out-of-order fields",
    ),
    "nine dimensions": (lambda: RuntimeData(T, np.zeros((1,) * 9)), PayloadError, r"at most 8 dimensions.* has 9"),
    "a masked array": (lambda: RuntimeData(T, np.ma.array([1], mask=[True])), PayloadError, r"lose its mask"),
    "larger than the pool": (lambda: RuntimeData(T, bytes(70_000)), PayloadError, r"70000 bytes can never fit"),
    "text larger than the pool": (lambda: RuntimeData(T, "ä" * 40_000), PayloadError, r"80000 bytes can never fit"),
    "session larger than the pool": (lambda: RuntimeData(T, b"", "s" * 70_000), PayloadError, r"can never fit"),
    "another type": (lambda: RuntimeData("tensor", b""), TypeError, r"must be a DataType \(AUDIO, VIDEO"),
    "an unhashable type": (lambda: RuntimeData([], b""), TypeError, r"must be a DataType"),
    "a session that is bytes": (lambda: RuntimeData(T, b"", b"s"), TypeError, r"session_id and port must be str"),
    "a port that is no str": (lambda: RuntimeData(T, b"", port=3), TypeError, r"must be str, not int"),
    "a timestamp that is no number": (lambda: RuntimeData(T, b"", "", "now"), TypeError, r"number of seconds.*'now'"),
    "a timestamp beyond float": (lambda: RuntimeData(T, b"", "", 10**400), TypeError, r"number of seconds"),
    "metadata of another type": (
        lambda: RuntimeData(T, b"", metadata=[1]),
        TypeError,
        r"AudioMetadata, VideoMetadata, a dict",
    ),
    "metadata with a set": (lambda: RuntimeData(T, b"", metadata={"a": {1}}), PayloadError, r"not JSON serializable"),
    "metadata with an array": (
        lambda: RuntimeData(T, b"", metadata={"a": np.zeros(1)}),
        PayloadError,
        r"cannot travel",
    ),
    "metadata in a circle": (lambda: RuntimeData(T, b"", metadata=_circle()), PayloadError, r"Circular"),
    "metadata with int keys": (
        lambda: RuntimeData(T, b"", metadata={"a": {1: 2}}),
        PayloadError,
        r"key 1 is not a str",
    ),
    "metadata too deep": (lambda: RuntimeData(T, b"", metadata=_deep()), PayloadError, r"cannot travel"),
    "a rate beyond 32 bits": (
        lambda: RuntimeData(T, b"", metadata=AudioMetadata(2**32, 1, "f32")),
        PayloadError,
        r"AudioMetadata.*cannot travel",
    ),
    "a negative width": (
        lambda: RuntimeData(T, b"", metadata=VideoMetadata(-1, 1, "rgb", 30.0)),
        PayloadError,
        r"VideoMetadata.*cannot travel",
    ),
    "a format that is no text": (
        lambda: RuntimeData(T, b"", metadata=AudioMetadata(1, 1, None)),  # type: ignore[arg-type]
        PayloadError,
        r"cannot travel",
    ),
    "a format with surrogates": (
        lambda: RuntimeData(T, b"", metadata=AudioMetadata(1, 1, "\ud800")),
        PayloadError,
        r"surrogates not allowed",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(channel: Callable[..., Any], what: str) -> None:
    make, kind, why = REFUSED[what]
    publisher, subscriber = channel(1, pool_bytes=65536)
    data = make()
    for publish in (publisher.try_publish, publisher.publish):
        with pytest.raises(kind, match=why) as caught:
            publish(data)
        assert type(caught.value) is kind
    # The same answer when it is full, instead of a wait.
    publisher.publish(RuntimeData(T, bytes(65536)))
    with pytest.raises(kind, match=why):
        publisher.publish(data)
    assert len(subscriber.receive().payload) == 65536
    assert subscriber.try_receive() is None
    publisher.publish(RuntimeData(T, bytes(65536)))
    assert len(subscriber.receive().payload) == 65536
    assert publisher.statistics()["published"] == 2


LOANS: dict[str, tuple[tuple[Any, Any], type[Exception], str]] = {
    "negative": (((-1,), "f4"), ValueError, r"negative dimensions"),
    "too large": (((2**20,), "f8"), PayloadError, r"8388608 bytes can never fit"),
    "too large for any": (((2**40, 2**40), "f8"), PayloadError, r"can never fit"),
    "nine dimensions": (((1,) * 9, "f4"), PayloadError, r"at most 8 dimensions"),
    "objects": (((2,), object), PayloadError, r"hold Python objects"),
    "no dtype": (((2,), "nonsense"), TypeError, r"nonsense"),
    "no shape": ((1.5, "f4"), TypeError, r"float"),
}


@pytest.mark.parametrize("what", LOANS)
def test_refused_loans(channel: Callable[..., Any], what: str) -> None:
    (shape, dtype), kind, why = LOANS[what]
    publisher, _ = channel(1, pool_bytes=65536)
    for loan in (publisher.loan, publisher.try_loan):
        with pytest.raises(kind, match=why):
            loan(shape, dtype)
    assert publisher.loan(65536, "u1").shape == (65536,)


@pytest.mark.parametrize(
    ("make", "kind", "why"),
    [
        (lambda: Publisher(""), ValueError, "channel_name must be a non-empty string"),
        (lambda: Subscriber(""), ValueError, "channel_name must be a non-empty string"),
        (lambda: Publisher(b"x"), TypeError, "must be a non-empty string, not b'x'"),
        (lambda: Subscriber(None), TypeError, "must be a non-empty string, not None"),
        (lambda: Publisher("x", 0), ValueError, "capacity must be a whole number from 1 to"),
        (lambda: Publisher("x", 2**21), ValueError, "capacity must be a whole number from 1 to"),
        (lambda: Publisher("x", 1.5), TypeError, "capacity must be a whole number"),
        (lambda: Publisher("x", True), TypeError, "capacity must be a whole number"),
        (lambda: Publisher("x", pool_bytes=0), ValueError, "pool_bytes must be a whole number from 1"),
        (lambda: Publisher("x", spin_us=-1), ValueError, "spin_us must be a whole number from 0"),
        (lambda: Subscriber("x", spin_us=10**7), ValueError, "spin_us must be a whole number from 0"),
    ],
)
def test_refused_arguments(make: Callable[[], Any], kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=why):
        make()


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), float("-inf")])
def test_refused_timeouts(channel: Callable[..., Any], tensor: Callable[..., RuntimeData], timeout: float) -> None:
    publisher, subscriber = channel()
    for call in (lambda: subscriber.receive(timeout), lambda: publisher.publish(tensor(), timeout)):
        with pytest.raises(ValueError, match="timeout must be a number of seconds from 0"):
            call()
    publisher.publish(tensor(), float("inf"))
    assert subscriber.receive(float("inf")) is not None


def test_closed_sides_say_which_side(channel: Callable[..., Any], tensor: Callable[..., RuntimeData]) -> None:
    publisher, subscriber = channel()
    subscriber.close()
    with pytest.raises(ChannelClosedError, match=r"this subscriber of channel .* is closed"):
        subscriber.receive()
    with pytest.raises(ChannelClosedError, match=r"the subscriber of channel .* has closed"):
        publisher.publish(tensor())
    publisher.close()
    for call in (lambda: publisher.publish(tensor()), lambda: publisher.loan(3, "f4")):
        with pytest.raises(ChannelClosedError, match=r"this publisher of channel .* is closed"):
            call()
    publisher.close()
    subscriber.close()


@pytest.mark.parametrize("call", ["publish", "try_publish", "publish_async"])
def test_an_oversized_payload_to_a_closed_subscriber(
    channel: Channels, tensor: Callable[..., RuntimeData], call: str
) -> None:
    publisher, subscriber = channel(10, pool_bytes=4096)
    publisher.publish(tensor(1, 10))
    with pytest.raises(PayloadError, match="can never fit"):
        publisher.publish(tensor(1, 9000))
    subscriber.close()
    for _ in range(3):  # the first one to notice is no exception
        with pytest.raises(ChannelClosedError, match="the subscriber of channel"):
            if call == "publish_async":
                asyncio.run(publisher.publish_async(tensor(1, 9000)))
            else:
                getattr(publisher, call)(tensor(1, 9000))


def test_a_loan_of_the_whole_pool_whose_metadata_needs_room_too(channel: Channels) -> None:
    publisher, subscriber = channel(10, pool_bytes=POOL_BYTES)
    loaned = publisher.loan(POOL_BYTES, np.uint8)
    loaned[:] = 3
    data = RuntimeData.tensor(loaned, metadata={"words": "x" * 200})
    with pytest.raises(PayloadError, match="can never fit"):
        publisher.try_publish(data)
    with pytest.raises(PayloadError, match="can never fit"):
        publisher.publish(data, timeout=PATIENCE_SECS)
    # Metadata that fits the slot needs no room.
    publisher.publish(RuntimeData.tensor(loaned, metadata={"words": "x"}), timeout=0)
    del loaned, data
    got = subscriber.receive()
    assert got is not None and (got.payload == 3).all() and got.metadata == {"words": "x"}


def sizeless(kind: str) -> Any:
    return np.zeros(3, dtype=[("empty", f"{kind}0"), ("number", "<i4")])["empty"]


@pytest.mark.parametrize("kind", ["S", "U"])
def test_a_dtype_without_bytes_is_refused(channel: Channels, kind: str) -> None:
    array = sizeless(kind)
    assert array.dtype.itemsize == 0
    with pytest.raises(PayloadError):
        encode_dtype(array.dtype)
    publisher, subscriber = channel()
    with pytest.raises(PayloadError):
        publisher.publish(RuntimeData.tensor(array), timeout=0)
    for loan in (publisher.loan, publisher.try_loan):
        for dtype in (array.dtype, {"S": bytes, "U": str}[kind]):
            with pytest.raises(PayloadError):
                loan(1000, dtype)
    assert publisher.statistics()["pool_used_bytes"] == 0
    assert subscriber.try_receive() is None
