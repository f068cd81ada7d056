"""Any payload, there and back through another process, comes back as it was."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as npst
import numpy as np
import numpy.typing as npt
from hypothesis import example, given, settings
from hypothesis import strategies as st

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData, VideoMetadata
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import PayloadError

ECHO = """
from remotemedia.core.multiprocessing import Publisher, Subscriber
with Subscriber(sys.argv[1]) as there, Publisher(sys.argv[2]) as back:
    say("ready")
    for data in there:
        back.publish(data)
        del data
"""

anything = st.characters(exclude_categories=())  # surrogates and NULs too
text = st.text(anything, max_size=200)
clean_text = st.text(max_size=300)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
metadata = st.one_of(
    st.none(),
    st.builds(AudioMetadata, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), clean_text),
    st.builds(
        VideoMetadata,
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        clean_text,
        st.floats(0, allow_infinity=False),
    ),
    st.dictionaries(text, json_values, max_size=5),
)
scalars = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?"),
    npst.complex_number_dtypes(endianness="?"),
    npst.datetime64_dtypes(endianness="?"),
    npst.timedelta64_dtypes(endianness="?"),
    npst.byte_string_dtypes(endianness="?", min_len=1),
    npst.unicode_string_dtypes(endianness="?", min_len=1),
    st.sampled_from([np.dtype("M8[25s]"), np.dtype("V7"), np.dtype("V1"), np.dtype("g"), np.dtype("G")]),
)
structured = npst.nested_dtypes(scalars, max_itemsize=400)


@st.composite
def padded(draw: st.DrawFn) -> np.dtype[Any]:
    """Structured, with the compiler's padding or with gaps of its own."""
    fields = [
        (f"field {i}", draw(scalars), draw(st.sampled_from([(), (2,), (2, 3)]))) for i in range(draw(st.integers(1, 4)))
    ]
    if draw(st.booleans()):
        return np.dtype(fields, align=True)
    offset, offsets = 0, []
    for _, kind, shape in fields:
        offset += draw(st.integers(0, 9))
        offsets.append(offset)
        offset += np.dtype((kind, shape)).itemsize
    formats = [np.dtype((kind, shape)) for _, kind, shape in fields]
    names = [name for name, _, _ in fields]
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": offset + draw(st.integers(0, 9))}
    )


@st.composite
def arrays(draw: st.DrawFn) -> npt.NDArray[Any]:
    dtype = draw(scalars | structured | padded())
    if dtype.subdtype is not None:
        dtype = np.dtype([("sub", dtype)])
    shape = draw(st.lists(st.integers(0, 5), max_size=5).map(tuple) | st.just((1,) * 8))
    count = int(np.prod(shape, dtype=int))
    raw = np.random.default_rng(draw(st.integers(0, 2**20))).bytes(count * dtype.itemsize)
    array = np.frombuffer(raw, dtype, count).reshape(shape) if dtype.itemsize else np.zeros(shape, dtype)
    how = draw(st.sampled_from(["as is", "fortran", "transposed", "strided", "reversed", "broadcast", "copy", "gap"]))
    if how == "fortran":
        return np.asfortranarray(array)
    if how == "transposed":
        return array.T
    if how == "strided" and array.ndim:
        return array[::2]
    if how == "reversed" and array.ndim:
        return array[..., ::-1]
    if how == "broadcast" and array.ndim < 8:
        return np.broadcast_to(array, (3, *array.shape))
    if how == "copy":
        return array.copy()
    if how == "gap" and array.ndim and array.shape[-1] > 1:
        return array[..., 1:]
    return array


payloads = st.one_of(
    arrays(),
    text,
    st.binary(max_size=500),
    st.binary(max_size=100).map(bytearray),
    st.binary(max_size=100).map(memoryview),
    st.binary(max_size=300).map(lambda raw: memoryview(raw)[::3]),
    st.integers(0, 5).map(lambda n: memoryview(np.arange(n * 4, dtype="f8").reshape(4, n))),
)
messages = st.builds(
    RuntimeData,
    st.sampled_from(DataType),
    payloads,
    st.one_of(text, st.text(anything, min_size=100, max_size=2000)),
    st.floats(),
    metadata,
)


def same(sent: RuntimeData, got: RuntimeData) -> None:
    assert got.type is sent.type
    assert got.session_id == sent.session_id
    assert struct.pack("d", got.timestamp) == struct.pack("d", sent.timestamp)
    assert got.metadata == sent.metadata
    assert type(got.metadata) is type(sent.metadata)
    if isinstance(sent.payload, np.ndarray):
        assert isinstance(got.payload, np.ndarray)
        assert got.payload.dtype == sent.payload.dtype
        assert got.payload.dtype.str == sent.payload.dtype.str
        assert got.payload.dtype.isalignedstruct == sent.payload.dtype.isalignedstruct or sent.payload.dtype.names
        assert got.payload.shape == sent.payload.shape
        assert got.payload.flags.c_contiguous
        assert not got.payload.flags.writeable
        same_items(got.payload, sent.payload)
    elif isinstance(sent.payload, str):
        assert got.payload == sent.payload
    else:
        assert isinstance(got.payload, memoryview)
        assert got.payload.readonly
        assert bytes(got.payload) == bytes(sent.payload)
    assert got.size == sent.size


def same_items(got: npt.NDArray[Any], sent: npt.NDArray[Any]) -> None:
    """Every byte of every field; what lies between the fields of a structured dtype has no value."""
    if got.dtype.names is None:
        assert got.tobytes() == sent.tobytes()
        return
    for name in got.dtype.names:
        same_items(got[name], sent[name])


def test_through_another_process(child_python: Callable[..., Any], channel_name: Callable[[], str]) -> None:
    names = channel_name(), channel_name()
    with Publisher(names[0]) as there, Subscriber(names[1]) as back:
        child = child_python(ECHO, *names)
        child.expect("ready")

        @settings(settings.get_profile("remotemedia"), max_examples=600)
        @given(sent=messages)
        @example(sent=RuntimeData(DataType.TEXT, "a\0b\ud800\U0010ffff", "\0\udfff", float("nan")))
        @example(sent=RuntimeData(DataType.AUDIO, np.zeros((0, 3), ">f4"), "s" * 5000, float("-inf")))
        @example(sent=RuntimeData(DataType.AUDIO, b"", "", 0.0, AudioMetadata(1, 2, "f" * 3000)))
        @example(sent=RuntimeData(DataType.VIDEO, "", "", 0.0, VideoMetadata(1, 2, "f" * 3000, 1e300)))
        @example(sent=RuntimeData(DataType.TENSOR, np.array(7.5), "", 0.0, {}))
        @example(sent=RuntimeData(DataType.TENSOR, np.recarray((3,), [("a", "i4")]), "", 0.0, {}))
        def check(sent: RuntimeData) -> None:
            try:
                there.publish(sent)
            except PayloadError as error:
                # numpy itself can make dtypes that it cannot describe; those are refused with a reason.
                assert "dtype" in str(error)
                assert sent.payload.dtype.names is not None  # type: ignore[union-attr]
                return
            got = back.receive()
            assert got is not None
            same(sent, got)

        check()
        there.close()
        assert child.wait() == 0, child.stderr()


@settings(settings.get_profile("remotemedia"), max_examples=200)
@given(dtype=scalars | structured | padded(), shape=st.lists(st.integers(0, 4), max_size=4).map(tuple))
def test_loaned_arrays_of_any_dtype(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if dtype.subdtype is not None:
        dtype = np.dtype([("sub", dtype)])
    with Publisher(f"loan-{id(dtype)}") as publisher, Subscriber(publisher.channel_name) as subscriber:
        try:
            loaned = publisher.loan(shape, dtype)
        except PayloadError as error:
            assert "dtype" in str(error)
            return
        assert (loaned.dtype, loaned.shape) == (dtype, shape)
        if loaned.size and dtype.itemsize:
            memoryview(loaned.reshape(-1).view(np.uint8))[:] = np.random.default_rng(1).bytes(loaned.nbytes)
        before = loaned.tobytes()
        publisher.publish(RuntimeData.tensor(loaned))
        got = subscriber.receive()
        assert got is not None
        assert (got.payload.dtype, got.payload.shape) == (dtype, shape)  # type: ignore[union-attr]
        assert got.payload.tobytes() == before  # type: ignore[union-attr]
        assert publisher.statistics()["bytes_copied"] == 0


def test_renamed_fields_are_seen(channel: Callable[..., Any]) -> None:
    """numpy lets fields be renamed in place: one dtype object, another meaning."""
    publisher, subscriber = channel()
    array = np.zeros(2, [("a", "i4"), ("b", "i4")])
    publisher.publish(RuntimeData.tensor(array))
    array.dtype.names = ("c", "d")
    publisher.publish(RuntimeData.tensor(array))
    first, second = subscriber.receive().payload, subscriber.receive().payload
    assert (first.dtype.names, second.dtype.names) == (("a", "b"), ("c", "d"))
    second.dtype.names = ("e", "f")  # the receiver's own business
    publisher.publish(RuntimeData.tensor(array))
    assert subscriber.receive().payload.dtype.names == ("c", "d")


def test_many_dtypes_through_one_channel(channel: Callable[..., Any]) -> None:
    """More than the receiver remembers."""
    publisher, subscriber = channel()
    for _ in range(2):
        for length in range(1, 200):
            publisher.publish(RuntimeData.tensor(np.zeros(2, f"S{length}")))
            assert subscriber.receive().payload.dtype == f"S{length}"


def test_subclasses_arrive_as_arrays(channel: Callable[..., Any]) -> None:
    publisher, subscriber = channel()
    publisher.publish(RuntimeData.tensor(np.array([[1, 2]]).view(np.matrix)))
    got = subscriber.receive().payload
    assert type(got) is np.ndarray
    assert got.tolist() == [[1, 2]]
