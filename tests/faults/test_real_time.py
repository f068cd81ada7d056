"""Many sessions stream audio at the rate it is spoken: does any come late, or one later than the others?"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessExecutor, Session

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "SC-004",
        "ten sessions and more stream in real time: each message is out before the next is due, and none starves",
        "twelve sessions of three nodes under one executor, six fed 20 ms, six 100 ms of 48 kHz stereo audio at "
        "a time, each at a moment of its own, every sample checked. At the same rates numbers go through three bare "
        "processes and four pipes: what comes too late there is the machine's",
    ),
]

SESSIONS, NODES, RATE = 12, 3, 48_000
PERIODS_MS = (20, 100)

BARE_CHAIN = """
import time
from itertools import pairwise

def forked():
    if os.fork():
        return False
    ctypes.CDLL(None).prctl(1, 9)  # dies with whoever started it
    return True

begin_ns, period_ns, count = hear()
pipes = [os.pipe() for _ in range(4)]
for (here, _), (_, there) in pairwise(pipes):
    if forked():
        for _ in range(count):
            os.write(there, os.read(here, 8))
        os._exit(0)
if forked():
    late_ms = []
    for number in range(count):
        os.read(pipes[-1][0], 8)
        late_ms.append((time.monotonic_ns() - begin_ns - number * period_ns) / 1e6)
    say(late_ms)
    os._exit(0)
for number in range(count):
    time.sleep(max(0, begin_ns + number * period_ns - time.monotonic_ns()) / 1e9)
    os.write(pipes[0][1], bytes(8))
for _ in range(4):
    os.wait()
"""


def samples_of(number: int, period_ms: int) -> Any:
    """What message ``number`` holds; halved a few times it is still exact."""
    samples = np.arange(RATE * period_ms // 1000 * 2, dtype=np.float32).reshape(-1, 2)
    return (samples + np.float32(number)) % np.float32(4096)


async def stream(session: Session, begin_ns: int, period_ms: int, count: int) -> list[float]:
    """How long after it was due each message was out, in milliseconds."""
    due_ns = [begin_ns + number * period_ms * 1_000_000 for number in range(count)]

    async def send() -> None:
        for number, due in enumerate(due_ns):
            samples = samples_of(number, period_ms)  # before it is due, as a microphone has it
            await asyncio.sleep((due - time.monotonic_ns()) / 1e9)
            await session.send("n0", RuntimeData.audio(samples, RATE, 2))
        await session.end_input()

    async def take() -> list[float]:
        late_ms = []
        while (data := await session.receive(f"n{NODES - 1}")) is not None:
            late_ms.append((time.monotonic_ns() - due_ns[len(late_ms)]) / 1e6)
            wanted = samples_of(len(late_ms) - 1, period_ms) / 2**NODES
            assert np.array_equal(data.as_numpy(), wanted)
            del data
        return late_ms

    _, late_ms = await asyncio.gather(send(), take())
    return late_ms


@pytest.mark.watchdog(300)
def test_in_real_time(px: Any, beside: Any, child_python: Any, ledger: Any, scale: Any) -> None:
    beside("speed_nodes")
    secs = scale(4, 120)
    counts = {period_ms: secs * 1000 // period_ms for period_ms in PERIODS_MS}
    periods_ms = [PERIODS_MS[number % 2] for number in range(SESSIONS)]
    bare = {period_ms: child_python(BARE_CHAIN) for period_ms in PERIODS_MS}

    async def main() -> list[list[float]]:
        async with MultiprocessExecutor() as executor:
            creating = (executor.create_session(f"s{n}", px.chain(*["f-half"] * NODES)) for n in range(SESSIONS))
            sessions = await asyncio.gather(*creating)
            begin_ns = time.monotonic_ns() + 200_000_000
            for period_ms, child in bare.items():
                child.say(begin_ns, period_ms * 1_000_000, counts[period_ms])
            streams = [
                stream(session, begin_ns + period_ms * 1_000_000 * number // SESSIONS, period_ms, counts[period_ms])
                for number, (session, period_ms) in enumerate(zip(sessions, periods_ms, strict=True))
            ]
            return await asyncio.gather(*streams)

    late_ms = px.run(main(), patience_secs=secs + px.PATIENCE_SECS)
    for period_ms, child in bare.items():
        count, audio = counts[period_ms], f"{period_ms} ms audio"
        (bare_late_ms,) = child.hear()
        assert child.wait() == 0
        streams = [late for late, period in zip(late_ms, periods_ms, strict=True) if period == period_ms]
        ledger.count("messages", count * len(streams))
        ledger.lose(sum(count - len(stream) for stream in streams))
        assert [len(stream) for stream in streams] == [count] * len(streams)
        ledger.took(f"{audio}: out after due, ms", *itertools.chain(*streams), p95_at_most=period_ms)
        ledger.took(f"{audio}: the same, bare, ms", *bare_late_ms)
        ledger.took(f"{audio}: p95 of a session, ms", *(statistics.quantiles(stream, n=20)[-1] for stream in streams))
        missed, bare_missed = (
            [1000 * sum(late >= period_ms for late in stream) / count for stream in found]
            for found in (streams, [bare_late_ms])
        )
        ledger.took(f"{audio}: deadlines missed, bare, of 1000", *bare_missed)
        beyond = [max(0.0, session - bare_missed[0]) for session in missed]
        ledger.took(f"{audio}: deadlines missed by a session beyond that, of 1000", *beyond, p95_at_most=0)
