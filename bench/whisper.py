"""What a WhisperNode costs, and how soon it is silent: ``python -m bench.whisper FOLDER`` with a model.

The time to ready and what it is made of; the memory of sessions side by side; how long an interruption takes while the
node decodes, until it is acknowledged and until the next turn is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import InitProgress, Pipeline, Session

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"
RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.whisper", description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="folder of a model that BACKEND reads")
    parser.add_argument("--backend", choices=("faster-whisper", "transformers"), default="faster-whisper")
    parser.add_argument("--interruptions", type=int, default=200, metavar="N")
    options = parser.parse_args()
    asyncio.run(_measure({"model": options.model, "backend": options.backend}, options.interruptions))


async def _measure(model: dict[str, str], interruptions: int) -> None:
    old, new = _recordings()
    for sessions in (1, 2, 4):
        await _side_by_side(model, sessions, new)
    async with _session(model, 0) as session:
        await _answer(session, new)
        alone_ms = [await _timed_ms(_answer(session, new)) for _ in range(5)]
        acknowledged_ms, answered_ms = [], []
        for number in range(interruptions):
            await _say(session, old)
            if number % 2 and model["backend"] == "faster-whisper":
                await session.receive("asr")  # a word of it is on its way
            else:
                await asyncio.sleep(0.2)
            acknowledged_ms.append(await _timed_ms(session.interrupt()))
            answered_ms.append(await _timed_ms(_answer(session, new)))
    print(f"{interruptions} interruptions while it decodes")
    print(f"  acknowledged                  {_percentiles(acknowledged_ms)}")
    print(f"  the next turn ({len(new) / RATE:.1f} s) answered  {_percentiles(answered_ms)}")
    print(f"  the same turn with nothing before it {statistics.median(alone_ms):.0f} ms")


async def _side_by_side(model: dict[str, str], count: int, samples: Any) -> None:
    """So many sessions, each with a node of its own, that have answered once."""
    steps: list[tuple[float, InitProgress]] = []
    began = time.monotonic()
    sessions = [_session(model, number) for number in range(count)]
    told = [lambda progress: steps.append((time.monotonic() - began, progress))] + [None] * (count - 1)
    await asyncio.gather(*(one.initialize(tell) for one, tell in zip(sessions, told, strict=True)))
    ready_secs = time.monotonic() - began
    for one in sessions:
        await one.start()
    await asyncio.gather(*(_answer(one, samples) for one in sessions))
    pss = [_pss_mb(one.pids["asr"]) for one in sessions]
    print(
        f"{count} at once: ready in {ready_secs:.2f} s, {sum(pss):.0f} MB in all (PSS), {statistics.mean(pss):.0f} each"
    )
    if count == 1:
        for at_secs, step in steps:
            print(f"  {at_secs:5.2f} s  {step.status} {step.message or ''}".rstrip())
    await asyncio.gather(*(one.cleanup() for one in sessions))


def _session(model: dict[str, str], number: int) -> Session:
    params = {**model, "segment": "marks", "language": "en"}
    return Session(f"bench-{number}", Pipeline().add_node("WhisperNode", "asr", params))


def _recordings() -> tuple[Any, Any]:
    """All that was recorded, and its last part."""
    import numpy as np
    import soundfile

    parts = [soundfile.read(path, dtype="float32")[0] for path in sorted(RECORDINGS.glob("*.wav"))]
    return np.concatenate(parts), parts[-1]


async def _say(session: Session, samples: Any) -> None:
    await session.send("asr", RuntimeData.audio(samples, RATE))
    await session.send("asr", RuntimeData.audio(samples[:0], RATE))


async def _answer(session: Session, samples: Any) -> None:
    await _say(session, samples)
    while (await session.receive("asr")).port != "words":
        pass


async def _timed_ms(work: Any) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1e3


def _pss_mb(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1e3


def _percentiles(values_ms: Sequence[float]) -> str:
    ordered = sorted(values_ms)
    return f"p50 {ordered[len(ordered) // 2]:.1f} ms, p95 {ordered[int(len(ordered) * 0.95)]:.1f} ms"


if __name__ == "__main__":
    main()
