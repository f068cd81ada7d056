"""AudioChunkerNode: the same samples in blocks of one size, whatever came in."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.nodes import AudioChunkerNode
from remotemedia.testing import NodeHost


@settings(max_examples=60, deadline=None)
@given(
    chunk_size=st.integers(1, 40),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=8),
    total=st.integers(1, 300),
    channels=st.sampled_from([0, 1, 2]),
    dtype=st.sampled_from([np.float32, np.int16]),
)
def test_same_samples_in_chunks_of_one_size(drive, split, chunk_size, sizes, total, channels, dtype):
    samples = np.arange(total * max(1, channels)).astype(dtype)
    samples = samples.reshape(total, channels) if channels else samples
    chunks = drive(AudioChunkerNode("c", {"chunk_size": chunk_size}), split(samples, 16_000, sizes))
    lengths = [len(chunk.payload) for chunk in chunks]
    assert lengths == [chunk_size] * (total // chunk_size) + [total % chunk_size] * bool(total % chunk_size)
    joined = np.concatenate([chunk.payload for chunk in chunks])
    assert joined.dtype == dtype
    assert np.array_equal(joined, samples)


def test_chunks_inside_a_message_are_not_copied(collect):
    async def chunks():
        node = AudioChunkerNode("c", {})
        return await collect(node.process(RuntimeData.audio(samples, 16_000))) + await collect(node.finish())

    samples = np.zeros(1100, np.float32)
    first, second, rest = asyncio.run(chunks())
    assert np.shares_memory(first.payload, samples)
    assert np.shares_memory(second.payload, samples)
    assert len(rest.payload) == 76
    assert not np.shares_memory(rest.payload, samples)


def test_a_marker_flushes_and_is_passed_on(drive):
    messages = [RuntimeData.audio(np.ones(n, np.float32), 16_000) for n in (5, 0, 4)]
    chunks = drive(AudioChunkerNode("c", {"chunk_size": 4}), messages)
    assert [len(chunk.payload) for chunk in chunks] == [4, 1, 0, 4]


def test_another_format_begins_a_new_chunk(drive):
    messages = [RuntimeData.audio(np.ones(3, np.float32), rate) for rate in (16_000, 8_000)]
    messages.append(RuntimeData.audio(np.ones(3, np.int16), 8_000))
    chunks = drive(AudioChunkerNode("c", {"chunk_size": 4}), messages)
    assert [(len(c.payload), c.metadata.sample_rate, c.metadata.format) for c in chunks] == [
        (3, 16_000, "f32"),
        (3, 8_000, "f32"),
        (3, 8_000, "i16"),
    ]


def test_interrupt_drops_what_waits():
    async def turns():
        async with NodeHost(AudioChunkerNode("c", {"chunk_size": 4})) as host:
            await host.feed(RuntimeData.audio(np.ones(3, np.float32), 16_000))
            await host.interrupt()
            return await host.feed(RuntimeData.audio(np.zeros(4, np.float32), 16_000))

    (chunk,) = asyncio.run(turns())
    assert not chunk.payload.any()


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (RuntimeData.text("hello"), "not TEXT"),
        (RuntimeData.audio(np.zeros(3, np.uint8), 16_000), "not uint8"),
        (
            RuntimeData(DataType.AUDIO, np.zeros((3, 2), np.float32), metadata=AudioMetadata(16_000, 1, "f32")),
            r"shape \(3, 2\)",
        ),
        (RuntimeData(DataType.AUDIO, np.zeros(3, np.float32), metadata=AudioMetadata(0, 1, "f32")), "not 0 Hz"),
    ],
)
def test_what_is_not_audio_is_named(drive, message, found):
    with pytest.raises((TypeError, ValueError), match=f"AudioChunkerNode takes .*{found}"):
        drive(AudioChunkerNode("c", {}), [message])
