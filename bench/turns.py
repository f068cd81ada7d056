"""Where TurnNode ends turns, beside the voice activity detector alone: ``python -m bench.turns``.

Pauses are cut into recordings of a person, between words. An end before the recording's is premature; one that only the
longest pause brings is missed. The delay is from the last sound to the mark: in audio, and the time to compute it.
Back-channels and noises should interrupt nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# As nodes of a session have them: numpy's pool would take longer than the work, and onnxruntime reports its use.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import numpy.typing as npt

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import END_OF_UTTERANCE, MultiprocessNode
from remotemedia.nodes import EspeakTTSNode, SileroVADNode, TurnNode
from remotemedia.testing import NodeHost, run_node

Samples = npt.NDArray[np.float32]

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"
RATE = 16_000
CHUNK = RATE // 50
PAUSES_SECS = (0.2, 0.3, 0.5, 0.8, 1.2, 2.0)
GAPS = 4
# Of a quiet room, below full scale.
ROOM_DB = -66
BEFORE_SECS, AFTER_SECS = 1.0, 4.0
# An end that only the longest pause of 3 s has brought.
MISSED_MS = 2000

# What eSpeak NG says, and with which of its voices.
BACK_CHANNELS = (
    ("uh huh", "en-us+klatt6"), ("mm hmm", "en-us+f3"), ("yeah", "en"), ("right", "en-us+m3"), ("okay", "en-us+f2"),
    ("I see", "en+m7"), ("sure", "en-us+klatt2"), ("aha", "en-us+m1"), ("yes", "en+f4"), ("hm", "en-us+m5"),
)  # fmt: skip
TALK_OVER = (
    ("no, that is not what I meant", "en-us+klatt6"), ("wait a moment please", "en-us+f3"), ("stop", "en"),
    ("hold on", "en-us+m3"), ("can you say that again", "en-us+f2"),
)  # fmt: skip


class Case(NamedTuple):
    """A recording with a pause in it, and silence after it; times in seconds of it."""

    name: str
    samples: Samples
    pause_secs: float
    end_secs: float


class Found(NamedTuple):
    """In seconds of audio: where a node found ends, when it passed on speech, when it interrupted. And how long it took
    to compute each end."""

    ends_secs: list[float]
    compute_ms: list[float]
    began_secs: list[float]
    silenced_secs: list[float]


# --- what is heard ---------------------------------------------------------------------------------------------------


def room(secs: float, seed: int = 0) -> Samples:
    """The noise of a quiet room."""
    noise = np.random.default_rng(seed).standard_normal(int(secs * RATE))
    return (noise * 10 ** (ROOM_DB / 20)).astype(np.float32)


def recordings() -> Iterator[tuple[str, Samples]]:
    import soundfile

    for path in sorted(RECORDINGS.glob("*.wav")):
        yield path.stem[-4:], soundfile.read(path, dtype="float32")[0]


def loudness(samples: Samples) -> npt.NDArray[np.float64]:
    """Of each 10 ms, in dB below the loudest."""
    blocks = samples[: len(samples) // 160 * 160].reshape(-1, 160).astype(np.float64)
    level = np.sqrt((blocks**2).mean(axis=1))
    return 20 * np.log10(np.maximum(level / level.max(), 1e-6))


def sounds(samples: Samples) -> tuple[float, float]:
    """From when to when something is said, in seconds: what is at most 35 dB below the loudest."""
    (loud,) = np.nonzero(loudness(samples) > -35)
    return float(loud[0]) / 100, float(loud[-1] + 1) / 100


def gaps(samples: Samples, count: int) -> list[int]:
    """Where words are apart: the quietest 30 ms, at least 0.5 s from each other and from both ends."""
    quiet = np.convolve(loudness(samples), np.ones(3) / 3, mode="same")
    first, last = sounds(samples)
    quiet[: int(first * 100) + 50] = quiet[int(last * 100) - 50 :] = 0
    found: list[int] = []
    for _ in range(count):
        at = int(quiet.argmin())
        found.append(at * 160 + 80)
        quiet[max(0, at - 50) : at + 50] = 0
    return sorted(found)


def with_pause(samples: Samples, at: int, secs: float) -> Samples:
    """Faded out and in over 5 ms, with the noise of the room between."""
    fade = np.linspace(1, 0, 80, dtype=np.float32)
    before, after = samples[:at].copy(), samples[at:].copy()
    before[-80:] *= fade
    after[:80] *= fade[::-1]
    return np.concatenate((before, room(secs, at), after))


def cases() -> Iterator[Case]:
    for name, samples in recordings():
        _, end_secs = sounds(samples)
        said = samples[: int(end_secs * RATE)]
        for at in gaps(samples, GAPS):
            for secs in PAUSES_SECS:
                heard = np.concatenate((room(BEFORE_SECS), with_pause(said, at, secs), room(AFTER_SECS, 1)))
                yield Case(f"{name} at {at / RATE:.2f}", heard, secs, BEFORE_SECS + secs + end_secs)


def spoken(text: str, voice: str) -> Samples:
    tts = EspeakTTSNode("tts", {"voice": voice, "sample_rate": RATE})
    said = np.concatenate([data.payload for data in run_node(tts, [RuntimeData.text(text)])])
    first, last = sounds(said)
    return np.concatenate((room(BEFORE_SECS), said[int(first * RATE) : int(last * RATE)], room(AFTER_SECS, 1)))


# --- noises, all of them made here -----------------------------------------------------------------------------------


def _white(secs: float, seed: int = 1) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(int(secs * RATE))


def _band(sound: npt.NDArray[np.float64], low_hz: float, high_hz: float) -> npt.NDArray[np.float64]:
    spectrum, hertz = np.fft.rfft(sound), np.fft.rfftfreq(len(sound), 1 / RATE)
    spectrum[(hertz < low_hz) | (hertz > high_hz)] = 0
    return np.fft.irfft(spectrum, len(sound))


def _tones(secs: float, *hertz: float) -> npt.NDArray[np.float64]:
    at = np.arange(int(secs * RATE)) / RATE
    return np.sum([np.sin(2 * np.pi * one * at) for one in hertz], axis=0)


def _fading(sound: npt.NDArray[np.float64], secs: float) -> npt.NDArray[np.float64]:
    return sound * np.exp(-np.arange(len(sound)) / RATE / secs)


def _often(sound: npt.NDArray[np.float64], every_secs: float, times: int) -> npt.NDArray[np.float64]:
    heard = np.zeros(int(every_secs * times * RATE) + len(sound))
    for number in range(times):
        at = int(number * every_secs * RATE)
        heard[at : at + len(sound)] += sound
    return heard


def _siren() -> npt.NDArray[np.float64]:
    at = np.arange(2 * RATE) / RATE
    return np.sin(2 * np.pi * (800 * at - 200 / np.pi * np.cos(2 * np.pi * at)))


def _cough() -> npt.NDArray[np.float64]:
    burst = _fading(_band(_white(0.3, 5), 300, 4000), 0.07)
    return _often(burst + 0.3 * _fading(_tones(0.3, 140, 280, 420), 0.05), 0.45, 2)


NOISES: dict[str, Callable[[], npt.NDArray[np.float64]]] = {
    "white noise, 1 s": lambda: _white(1.0),
    "fan: noise below 400 Hz, 3 s": lambda: _band(_white(3.0, 2), 20, 400),
    "hum: 50 Hz and harmonics, 2 s": lambda: _tones(2.0, 50, 100, 150, 250),
    "click": lambda: _fading(_white(0.02, 3), 0.003),
    "door slam: noise below 200 Hz": lambda: _fading(_band(_white(0.5, 4), 30, 200), 0.1),
    "keyboard: 12 clicks": lambda: _often(_fading(_band(_white(0.03, 6), 1500, 6000), 0.006), 0.13, 12),
    "music: a chord, 2 s": lambda: _fading(_tones(2.0, 262, 330, 392, 523), 1.0),
    "coughs: two bursts": _cough,
    "telephone: 440 and 480 Hz, 1 s": lambda: _tones(1.0, 440, 480),
    "siren: 600 to 1000 Hz, 2 s": _siren,
}


def noise(name: str) -> Samples:
    """Its peak is at -6 dB, and the room is quiet before and after."""
    sound = NOISES[name]()
    heard = (sound / np.abs(sound).max() * 0.5).astype(np.float32)
    return np.concatenate((room(BEFORE_SECS), heard, room(AFTER_SECS, 1)))


# --- what the nodes make of it ---------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[], MultiprocessNode]] = {
    "TurnNode": lambda: TurnNode("turn", {}),
    "TurnNode, threshold 0.9": lambda: TurnNode("turn", {"threshold": 0.9}),
    "VAD alone, 200 ms": lambda: SileroVADNode("vad", {"min_silence_ms": 200}),
    "VAD alone, 500 ms": lambda: SileroVADNode("vad", {}),
    "VAD alone, 800 ms": lambda: SileroVADNode("vad", {"min_silence_ms": 800}),
}
EARS: dict[str, Callable[[], MultiprocessNode]] = {
    "TurnNode": lambda: TurnNode("turn", {"interrupts": "answer"}),
    "TurnNode, min_interrupt_ms 500": lambda: TurnNode("turn", {"interrupts": "answer", "min_interrupt_ms": 500}),
    "TurnNode, min_interrupt_ms 300": lambda: TurnNode("turn", {"interrupts": "answer", "min_interrupt_ms": 300}),
    "VAD alone": lambda: SileroVADNode("vad", {}),
}


async def _found(node: MultiprocessNode, samples: Samples) -> Found:
    """What the node says of these samples, in chunks of 20 ms, one after the other, each timed."""
    found = Found([], [], [], [])
    async with NodeHost(node) as host:
        for at in range(0, len(samples), CHUNK):
            began = time.perf_counter()
            outputs = await host.feed(RuntimeData.audio(samples[at : at + CHUNK], RATE))
            took_ms, secs = (time.perf_counter() - began) * 1e3, (at + CHUNK) / RATE
            found.began_secs.extend(secs for one in outputs if one.port == "audio" and len(one.payload))
            found.silenced_secs.extend(secs for _ in range(len(found.silenced_secs), len(host.interruptions)))
            if any(one.mark == END_OF_UTTERANCE for one in outputs):
                found.ends_secs.append(secs)
                found.compute_ms.append(took_ms)
    return found


def found_by(make: Callable[[], MultiprocessNode], samples: Samples) -> Found:
    return asyncio.run(_found(make(), samples))


def turns(way: str) -> tuple[list[str], list[str]]:
    """A row of the table of premature ends, by pause, and one of the table of ends."""
    premature = dict.fromkeys(PAUSES_SECS, 0)
    delays_ms, compute_ms, missed, count = [], [], [], 0
    for case in cases():
        found = found_by(WAYS[way], case.samples)
        count += 1
        premature[case.pause_secs] += any(end < case.end_secs for end in found.ends_secs)
        (last,) = (number for number, end in enumerate(found.ends_secs) if end >= case.end_secs)
        delay_ms = (found.ends_secs[last] - case.end_secs) * 1e3
        if delay_ms >= MISSED_MS:
            missed.append(case.name)
        else:
            delays_ms.append(delay_ms)
            compute_ms.append(found.compute_ms[last])
    print(f"{way}: missed {dict(Counter(name.split()[0] for name in missed))}", file=sys.stderr)
    of = count // len(PAUSES_SECS)
    by_pause = [way, *(f"{number} of {of}" for number in premature.values()), f"{sum(premature.values())} of {count}"]
    times = (statistics.median(delays_ms), max(delays_ms), statistics.median(compute_ms), max(compute_ms))
    return by_pause, [way, f"{len(missed)} of {count}", *(f"{ms:.0f} ms" for ms in times)]


def silences(way: str, heard: Iterable[Samples]) -> list[float]:
    """For each that silences an answer, so many milliseconds after its first sound.

    Ears that know the detector alone do so at the first frame that it lets through.
    """
    found = [found_by(EARS[way], samples) for samples in heard]
    at_secs = [one.silenced_secs if way.startswith("TurnNode") else one.began_secs for one in found]
    return [(secs[0] - BEFORE_SECS) * 1e3 for secs in at_secs if secs]


def barge_in(way: str) -> list[str]:
    said = silences(way, [spoken(*one) for one in TALK_OVER])
    short = silences(way, [spoken(*one) for one in BACK_CHANNELS])
    noises = silences(way, [noise(one) for one in NOISES])
    counts = ((said, TALK_OVER), (short, BACK_CHANNELS), (noises, NOISES))
    return [way, *(f"{len(found)} of {len(of)}" for found, of in counts), f"{statistics.median(said):.0f} ms"]


def _print(*rows: list[str]) -> None:
    print()
    for number, row in enumerate(rows):
        print(f"| {' | '.join(row)} |")
        if number == 0:
            print(f"| --- |{' ---: |' * (len(row) - 1)}")


def main() -> None:
    argparse.ArgumentParser("python -m bench.turns", description=__doc__).parse_args()
    found = [turns(way) for way in WAYS]
    _print(
        ["premature ends, by pause", *(f"{secs} s" for secs in PAUSES_SECS), "all"],
        *(by_pause for by_pause, _ in found),
    )
    _print(["", "missed ends", "delay, median", "max", "computed in, median", "max"], *(ends for _, ends in found))
    _print(
        ["silences the answer", "words over it", "back-channels", "noises", "so long after the first sound, median"],
        *(barge_in(way) for way in EARS),
    )


if __name__ == "__main__":
    main()
