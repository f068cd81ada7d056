"""ResampleNode: mono float32 of one rate, the same whatever the chunking."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remotemedia.core.data import AudioMetadata, RuntimeData
from remotemedia.core.marks import END_OF_UTTERANCE, zero_samples
from remotemedia.nodes import ResampleNode
from remotemedia.testing import NodeHost

pytest.importorskip("soxr")


def tone(rate, seconds=0.2):
    return np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


def joined(messages):
    return np.concatenate([message.payload for message in messages])


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
    sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=6),
    channels=st.sampled_from([0, 2, 3]),
    dtype=st.sampled_from([np.float32, np.float64, np.int16, np.int32]),
)
def test_chunking_does_not_matter(drive, split, rate, sizes, channels, dtype):
    samples = np.random.default_rng(0).uniform(-1, 1, (rate // 10, channels) if channels else rate // 10)
    if np.dtype(dtype).kind == "i":
        samples *= np.iinfo(dtype).max
    samples = samples.astype(dtype)
    whole = joined(drive(ResampleNode("r", {}), split(samples, rate, [len(samples)])))
    parts = joined(drive(ResampleNode("r", {}), split(samples, rate, sizes)))
    assert whole.dtype == np.float32
    assert whole.shape == (1600,)
    assert np.array_equal(whole, parts)


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_a_tone_stays_a_tone(drive, split, rate):
    resampled = joined(drive(ResampleNode("r", {}), split(tone(rate), rate, [500])))
    middle = slice(400, -400)
    assert np.abs(resampled[middle] - tone(16_000)[middle]).max() < 1e-3


def test_what_fits_passes_without_a_copy(collect):
    async def resampled():
        node = ResampleNode("r", {})
        await node.initialize()
        return await collect(node.process(message))

    message = RuntimeData.audio(np.ones(10, np.float32), 16_000)
    (passed,) = asyncio.run(resampled())
    assert passed.payload is message.payload


def test_integers_are_scaled_and_channels_averaged(drive):
    samples = np.array([[-32768, 0], [16384, 16384]], np.int16)
    (message,) = drive(ResampleNode("r", {}), [RuntimeData.audio(samples, 16_000, 2)])
    assert message.payload.tolist() == [-0.5, 0.5]
    assert message.metadata.channels == 1
    assert message.metadata.format == "f32"


def test_another_rate_flushes_and_starts_anew(drive, split):
    one, other = split(tone(8_000), 8_000, [300]), split(tone(48_000), 48_000, [3000])
    both = joined(drive(ResampleNode("r", {}), one + other))
    alone = [joined(drive(ResampleNode("r", {}), part)) for part in (one, other)]
    assert np.array_equal(both, np.concatenate(alone))


def test_a_marker_flushes_and_is_passed_on(drive, split):
    part = split(tone(48_000), 48_000, [3000])
    marker = RuntimeData.audio(np.empty(0, np.float32), 48_000)
    *messages, end = drive(ResampleNode("r", {}), [*part, marker])
    assert sum(len(message.payload) for message in messages) == 3200
    assert end.mark == END_OF_UTTERANCE
    assert zero_samples(end).metadata == AudioMetadata(16_000, 1, "f32")


def test_interrupt_drops_what_is_held_back(drive):
    message = RuntimeData.audio(tone(48_000), 48_000)

    async def turns():
        async with NodeHost(ResampleNode("r", {})) as host:
            await host.feed(message)
            await host.interrupt()
            return await host.feed(message) + await host.finish()

    assert np.array_equal(joined(asyncio.run(turns())), joined(drive(ResampleNode("r", {}), [message])))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_not_a_number_spoils_no_sample_but_itself(drive, split, caplog, value, channels):
    samples = np.zeros((4800, channels), np.float32)
    samples[[0, 1000, 4799], -1] = value
    expected = np.nan_to_num(samples, nan=0, posinf=1, neginf=-1)
    resampled = joined(drive(ResampleNode("r", {}), split(samples, 48_000, [700])))
    said = caplog.messages
    assert resampled.tobytes() == joined(drive(ResampleNode("r", {}), split(expected, 48_000, [700]))).tobytes()
    what = "NaN, taken as 0" if np.isnan(value) else "infinite, taken as 1 or -1"
    assert said == [f"ResampleNode: 3 samples were {what}"] == caplog.messages


@pytest.mark.parametrize("rate", [16_000, 48_000])
@pytest.mark.parametrize("value", [np.finfo(np.float32).max, np.finfo(np.float64).max])
def test_the_greatest_numbers_give_numbers(drive, split, rate, value):
    samples = np.zeros((4800, 2))
    samples[1000:1010] = value
    resampled = joined(drive(ResampleNode("r", {}), split(samples, rate, [700])))
    assert np.isfinite(resampled).all()
    assert np.abs(resampled).max() >= 1


def test_beyond_full_scale_stays_beyond(drive, split):
    resampled = joined(drive(ResampleNode("r", {}), split(4 * tone(48_000), 48_000, [500])))
    assert np.abs(resampled).max() > 3.9
