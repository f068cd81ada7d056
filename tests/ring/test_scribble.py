"""Random bytes over everything that is shared, while the other side works: clear errors only, never a crash.

Each round runs in a process of its own, so that a crash is a failed test; a failure names its seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

SCRIPT = """
import mmap, os, random
import numpy as np
from remotemedia import _ring
from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.errors import ChannelCorruptedError

first, last = int(sys.argv[1]), int(sys.argv[2])
REGIONS = sys.argv[3].split(",")

def round_of(seed):
    rng = random.Random(seed)
    ring_fd = _ring.create_ring(rng.choice([1, 2, 4, 7]))
    memory_fd = _ring.create_segment(65536, 1)
    bell_fd = _ring.create_segment(4096, 2)
    ring = mmap.mmap(ring_fd, os.fstat(ring_fd).st_size)
    memory = mmap.mmap(memory_fd, os.fstat(memory_fd).st_size)
    bell = mmap.mmap(bell_fd, os.fstat(bell_fd).st_size)
    own = _ring.Segment(os.dup(memory_fd), os.eventfd(0, os.EFD_NONBLOCK), True)
    mine = _ring.Segment(os.dup(bell_fd), os.eventfd(0, os.EFD_NONBLOCK), True)
    far = _ring.Segment(memory_fd, -1, False)
    producer = _ring.Producer(os.dup(ring_fd), FORM, own, _ring.Segment(bell_fd, -1, False))
    consumer = _ring.Consumer(ring_fd, FORM, mine, far, {1: far}, far)
    places = {
        "slots": lambda: (ring, 4096 + rng.randrange(0, 256 * 8)),
        "slot": lambda: (
            ring, 4096 + 256 * rng.randrange(8) + rng.choice([24, 28, 29, 30, 31, 32, 36, 40, 48, 56, 60])
        ),
        "shape": lambda: (ring, 4096 + 256 * rng.randrange(8) + 64 + rng.randrange(80)),
        "text": lambda: (ring, 4096 + 256 * rng.randrange(8) + 144 + rng.randrange(112)),
        "ring": lambda: (ring, rng.choice([rng.randrange(0, 512), 128, 256, 136, 384, 388])),
        "table": lambda: (memory, 40960 + rng.randrange(0, 64 * 64)),
        "segment": lambda: (memory, rng.choice([rng.randrange(0, 1024), 256, 384, 388])),
        "pool": lambda: (memory, 40960 + 65536 + rng.randrange(65536)),
        "bell": lambda: (bell, rng.randrange(0, 512)),
    }
    names = [name for name in places if name in REGIONS]
    payloads = [
        lambda: np.arange(rng.randrange(50)).astype(rng.choice(["<f4", "<i8", ">u2", "<M8[s]"])),
        lambda: np.zeros(rng.randrange(9), dtype=[("a", "<i4"), ("b", "<f8", (2,))]),
        lambda: np.ones((3, 1, rng.randrange(5)), dtype="u1"),
        lambda: bytes(rng.randrange(9000)),
        lambda: "words " * rng.randrange(50),
    ]

    def scribble(times):
        for _ in range(times):
            where, at = places[rng.choice(names)]()
            raw = rng.choice([
                rng.randbytes(rng.choice([1, 2, 4, 8, 24])), b"\\xff" * 8, bytes(8), b"\\1\\0\\0\\0", b"\\0\\0\\0\\x80",
                (rng.randrange(2**64)).to_bytes(8, "little"),
            ])
            raw = raw[: len(where) - at]
            where[at : at + len(raw)] = raw

    held, errors = [], []
    for step in range(30):
        try:
            producer.put(RuntimeData(rng.choice(list(DataType)), rng.choice(payloads)(), "s" * rng.choice([0, 3, 200]),
                                     1.0, rng.choice([None, {"a": 1}, AudioMetadata(1, 2, "f")]), port="port"))
        except ChannelCorruptedError as error:
            errors.append(error)
            break
        if rng.random() < 0.6:
            scribble(rng.randrange(1, 4))
        try:
            message = consumer.take()
            if message is not None:
                payload = message.payload
                # Every byte is read: a view outside the mapping would crash here.
                held.append(payload)
                (payload.tobytes() if hasattr(payload, "tobytes") else payload.encode("utf-8", "surrogatepass"))
        except ChannelCorruptedError as error:
            errors.append(error)
            if consumer.ready():
                try:
                    consumer.take()
                except ChannelCorruptedError:
                    pass
        if held and rng.random() < 0.5:
            held.pop(rng.randrange(len(held)))
    for close in (consumer.close, producer.close):
        close()
    try:
        producer.put(RuntimeData(DataType.TEXT, b"x"))
        own.collect()
    except ChannelCorruptedError as error:
        errors.append(error)
    consumer.statistics()
    held.clear()
    for segment in (own, mine):
        segment.close()
    for view in (ring, memory, bell):
        view.close()
    return len(errors)

caught = 0
for seed in range(first, last):
    say("seed", seed)
    try:
        caught += round_of(seed)
    except BaseException as error:
        import traceback
        say("failed", seed, traceback.format_exc())
        raise
say("done", caught)
"""


def _run(child_python: Callable[..., Any], first: int, last: int, regions: str) -> int:
    child = child_python(SCRIPT, str(first), str(last), regions)
    seed = None
    while True:
        line = child.process.stdout.readline()
        if not line:
            code = child.wait()
            pytest.fail(f"seed {seed} of {regions}: the process died with {code}\n{child.stderr()}")

        word, *rest = json.loads(line)
        if word == "done":
            return int(rest[0])
        if word == "failed":
            pytest.fail(f"seed {rest[0]} of {regions}:\n{rest[1]}")
        seed = rest[0]


@pytest.mark.parametrize("regions", ["slots", "slot", "shape", "text", "ring", "table", "segment", "pool", "bell"])
def test_one_region(child_python: Callable[..., Any], regions: str) -> None:
    caught = _run(child_python, 0, 150, regions)
    if regions not in ("pool", "bell", "segment"):
        assert caught > 0, "nothing was ever noticed: is anything scribbled on?"


def test_all_regions(child_python: Callable[..., Any]) -> None:
    everything = "slots,slot,shape,text,ring,table,segment,pool,bell"
    assert _run(child_python, 1000, 1400, everything) > 0


SCRIBBLER = """
import mmap, os
fd = os.open(sys.argv[1], os.O_RDWR)
ring = mmap.mmap(fd, os.fstat(fd).st_size)
say("scribbling")
while True:
    ring[4096 + 128 : 4096 + 144] = b"\\xff" * 16  # the lengths of the only slot's text
"""

PUBLISHER = """
import mmap, os
from remotemedia import _ring
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel.form import FORM
fd = _ring.create_ring(1)
ring = mmap.mmap(fd, os.fstat(fd).st_size)
segment = _ring.Segment(_ring.create_segment(1 << 24, 1), -1, True)
producer = _ring.Producer(os.dup(fd), FORM, segment)
say(f"/proc/{os.getpid()}/fd/{fd}")
hear()
for message in range(1, 201):
    # The long session id is copied first: time to change the other lengths.
    assert producer.put(RuntimeData.text("", session_id="s" * (1 << 16), metadata={"a": 1}, port="port")) == _ring.OK
    ring[256:264] = message.to_bytes(8, "little")  # as if it had been received
say("done")
"""


def test_lengths_changed_while_they_are_used(child_python: Callable[..., Any]) -> None:
    """What the producer writes for the consumer it does not read back."""
    publisher = child_python(PUBLISHER)
    scribbler = child_python(SCRIBBLER, *publisher.hear())
    scribbler.expect("scribbling")
    publisher.say("go")
    publisher.expect("done")
