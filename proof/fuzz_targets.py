"""The targets of ``fuzz_ring``, in the process that runs the instrumented extension. Documented errors may be raised,
nothing else may happen: no crash, no read outside a mapping, no hang, no descriptor left.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import struct
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["remotemedia.core.dtypes", "remotemedia.core.data"]):
    from remotemedia.core.data import DataType, RuntimeData, decode_metadata
    from remotemedia.core.dtypes import decode_dtype, encode_dtype

import numpy as np

from proof import fuzz_memory
from proof.fuzz_memory import BLOCK_BYTES, DTYPES, FIELDS, SLOT_BYTES, SLOTS, TABLE, VALUES, Memory
from proof.fuzz_world import METADATA, PAYLOADS, World
from remotemedia import _ring
from remotemedia.core.multiprocess.channel.form import FORM
from remotemedia.errors import ChannelClosedError, ChannelCorruptedError, PayloadError

POOL = 8192
SESSIONS = ["", "s", "long " * 60]


def ring(provider: Any) -> None:
    """Publishing, receiving, forwarding, holding and dropping, with scribbles in between."""
    world = World(provider.ConsumeIntInRange(1, 4))
    pick, below = provider.PickValueInList, lambda n: provider.ConsumeIntInRange(0, n - 1)
    steps: list[Callable[[], object]] = [
        lambda: world.publish(pick(PAYLOADS), pick(METADATA), pick(SESSIONS)),
        lambda: world.receive(world.subscriber),
        lambda: fuzz_memory.scribble_field(provider, pick(world.memories)),
        lambda: fuzz_memory.scribble_field(provider, world.first, world.next_slot()),
        lambda: fuzz_memory.scribble_bytes(provider, pick(world.memories)),
        lambda: fuzz_memory.forge_text(provider, world.first, below(world.capacity)),
        lambda: world.held and world.forward(pick(world.held)),
        lambda: world.receive(world.last),
        lambda: world.held and world.held.pop(below(len(world.held))),
        lambda: world.held and world.stage(pick(world.held)),
        lambda: world.held and world.make_writable(pick(world.held)),
        lambda: world.writable and world.writable.pop(below(len(world.writable))),
        world.look,
        lambda: world.loan(below(5000)),
        lambda: world.a.cut(),
        world.open_subscriber,  # a broken side stays broken: a fresh one reads on
        world.open_publisher,
        lambda: pick([world.publisher, world.subscriber]).close(),
    ]
    try:
        for _ in range(40):
            if not provider.remaining_bytes():
                break
            with contextlib.suppress(ChannelCorruptedError, ChannelClosedError, PayloadError):
                pick(steps)()
    finally:
        world.close()


class _Word(ctypes.Structure):
    _fields_ = (("word", ctypes.c_void_p), ("value", ctypes.c_uint32))


def race(provider: Any) -> None:
    """The same memory is scribbled on in the middle of each call: what is checked must be what is used."""
    world = World(2)
    native = ctypes.CDLL(_ring.__file__)
    anchors = [np.frombuffer(memory.view, np.uint8) for memory in world.memories]
    words = (_Word * provider.ConsumeIntInRange(1, 8))()
    for word in words:
        if provider.ConsumeBool():
            memory, kind = 3, "slot"
            start = SLOTS + SLOT_BYTES * provider.ConsumeIntInRange(0, 1)
        else:
            memory, kind = 0, "block"
            start = TABLE + BLOCK_BYTES * provider.ConsumeIntInRange(0, 4)
        letter, offset = provider.PickValueInList(FIELDS[kind])
        half = 4 * provider.ConsumeIntInRange(0, 1) if letter == "Q" else 0
        word.word = anchors[memory].ctypes.data + (start + offset) // 4 * 4 + half
        word.value = provider.PickValueInList(VALUES) >> provider.PickValueInList([0, 32]) & 0xFFFFFFFF
    stop = ctypes.c_int(0)
    arguments = (words, len(words), ctypes.byref(stop))
    scribbler = threading.Thread(target=native.fuzz_scribble, args=arguments)
    scribbler.start()
    sent = [provider.PickValueInList(PAYLOADS) for _ in range(4)]
    long = "long " * 4000
    try:
        for step in range(100):
            try:
                world.publish(sent[step % 4], METADATA[step % 4], (long, "s")[step % 2])
                world.receive(world.subscriber)
            except (ChannelCorruptedError, ChannelClosedError):
                world.start_afresh()
            del world.held[:-2]
    finally:
        stop.value = 1
        scribbler.join()
        del anchors, native
        world.close()


def mapping(provider: Any) -> None:
    """Descriptors handed over by a peer that hold nearly a segment or a ring, or nothing like it."""
    is_ring = provider.ConsumeBool()
    made = _ring.create_ring(3) if is_ring else _ring.create_segment(POOL, 5)
    whole = os.pread(made, os.fstat(made).st_size, 0)
    os.close(made)
    fd = os.memfd_create("remotemedia-fuzz", os.MFD_ALLOW_SEALING)
    size = len(whole) if provider.ConsumeBool() else provider.PickValueInList([v for v in VALUES if v <= 1 << 32])
    os.ftruncate(fd, size)
    os.pwrite(fd, whole[: min(size, 16384)], 0)
    if size:
        memory = Memory(
            mmap.mmap(fd, min(size, 1 << 16)), [("header", 0), ("ring", 0)] if is_ring else [("segment header", 0)]
        )
        for _ in range(provider.ConsumeIntInRange(0, 4)):
            try:
                fuzz_memory.scribble_field(provider, memory)
            except (ValueError, IndexError, struct.error):
                break  # it ends before this field
        memory.view.close()
    if provider.ConsumeIntInRange(0, 9):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    try:
        if is_ring:
            _use_ring(fd)
        else:
            _use_segment(fd)
    except (ChannelCorruptedError, ChannelClosedError, PayloadError):
        pass


def _use_ring(fd: int) -> None:
    fds = [os.dup(fd), os.dup(fd), fd]
    own = _ring.Segment(_ring.create_segment(POOL, 0), -1, True)
    for side in (
        _ring.RingView,
        lambda fd: _ring.Consumer(fd, FORM, own, own, {0: own}),
        lambda fd: _ring.Producer(fd, FORM, own),
    ):
        try:
            made: Any = side(fds.pop(0))
            made.statistics()
            if isinstance(made, _ring.Consumer):
                made.take()
            elif isinstance(made, _ring.Producer):
                made.put(RuntimeData(DataType.TENSOR, b"x" * 99, "s" * 200))
        except (ChannelCorruptedError, ChannelClosedError):
            pass


def _use_segment(fd: int) -> None:
    far = os.dup(fd)
    try:
        own = _ring.Segment(fd, -1, True)
        for size in (1, 64, own.pool_bytes):
            block = own.loan(size)
            if block is not None and len(block) <= 1 << 20:
                memoryview(block)[:] = bytes(len(block))
        own.counters()
        assert own.used_bytes <= own.pool_bytes
    finally:
        segment = _ring.Segment(far, -1, False)
        segment.wake()


def decoders(provider: Any) -> None:
    """The text of a header, without a ring around it."""
    raw = provider.PickValueInList(DTYPES) if provider.ConsumeBool() else b""
    kind = provider.ConsumeIntInRange(0, 255)
    raw += provider.ConsumeBytes(300)
    with contextlib.suppress(ChannelCorruptedError):
        decode_metadata(kind % 6, raw)
    try:
        dtype = decode_dtype(raw)
    except ChannelCorruptedError:
        return
    assert not dtype.hasobject
    # An array of it must have the dtype that was decoded: sizes are computed from that.
    assert np.empty(0, dtype).dtype == dtype, f"{raw!r} is not the dtype of an array"
    assert decode_dtype(encode_dtype(dtype)) == dtype


TARGETS = {target.__name__: target for target in (ring, race, mapping, decoders)}


def main() -> None:
    warnings.simplefilter("ignore")  # a forged dtype may be an old spelling
    named = [TARGETS[word] for word in sys.argv if word in TARGETS]
    targets = named or [ring, ring, ring, mapping, decoders, race]

    def one(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        target = provider.PickValueInList(targets)
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  asked once per input
        target(provider)
        assert len(os.listdir("/proc/self/fd")) == before, "descriptors were left open"  # noqa: PTH208

    atheris.Setup([word for word in sys.argv if word not in TARGETS], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
