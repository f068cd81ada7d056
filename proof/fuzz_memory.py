"""The targets of scribbles: every field of the shared headers, and values on which checks turn."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from typing import Any

TAIL, HEAD = 128, 256
SLOTS, SLOT_BYTES, TABLE, BLOCK_BYTES = 4096, 256, 4096, 64

# struct's letter and offset, as _ring_abi.h has them.
_ABI = {
    "header": "I0 I4 Q8 I16 I20 Q24",
    "ring": "Q128 I136 Q256 I384 I388 Q512 Q640",
    # Twice what says where the bytes are: more checks turn on it.
    "slot": "Q0 Q8 Q16 I24 B28 B29 B30 B31 I32 I36 Q40 Q48 I56 Q64 Q72 Q80 Q88 Q96 Q104 Q112 Q120 I128 I132 I136 I140"
    " I36 Q40 Q48 I56 I128 I132 I136 I140 Q40 Q48",
    "segment header": "I0 I4 Q8 Q16 Q24 Q32 I40 I44",
    "segment": "I128 I132 I136 I256 I384 I388 Q512 Q576",
    "block": "I0 I4 Q8 Q16",
}
FIELDS = {name: [(text[0], int(text[1:])) for text in line.split()] for name, line in _ABI.items()}

_EDGES = [0, 8, 9, 64, 112, 1024, 4096, 1 << 16, 1 << 20, 1 << 31, 1 << 32, 1 << 60, 1 << 62, 1 << 63, 1 << 64]
VALUES = sorted({(edge + by) % (1 << 64) for edge in _EDGES for by in (-64, -1, 0, 1)} | set(range(8)))

# One a line: a dtype, something that is not one, and one that cannot travel.
DTYPES = rb"""
<f8
|u1
>i2
<U3
|S5
|V0
|S0
|O
f4,O
(2,3)<f4
(0,)f8
V2147483647
<M8[s]
?
[]
[('a','<f4',(2,))]
[('a','|O')]
[('', '|V3'), ('b', '>c8')]
[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[
[-------------------------------------------------1]
""".split(b"\n")


@dataclass
class Memory:
    """A memfd mapped a second time, to be scribbled on."""

    view: mmap.mmap
    tables: list[tuple[str, int]] = field(default_factory=list)  # fields of which kind lie where

    def poke(self, kind: str, offset: int, value: int) -> None:
        struct.pack_into(kind, self.view, offset, value % (1 << 8 * struct.calcsize(kind)))

    def peek(self, kind: str, offset: int) -> int:
        return int(struct.unpack_from(kind, self.view, offset)[0])


def scribble_field(provider: Any, memory: Memory, where: tuple[str, int] | None = None) -> None:
    """One field becomes a value that checks turn on, or moves a little."""
    table, start = where or provider.PickValueInList(memory.tables)
    kind, offset = provider.PickValueInList(FIELDS[table])
    if provider.ConsumeBool():
        value = provider.PickValueInList(VALUES)
    else:
        value = memory.peek(kind, start + offset) + provider.ConsumeIntInRange(-65, 65)
    memory.poke(kind, start + offset, value)


def scribble_bytes(provider: Any, memory: Memory) -> None:
    """Raw bytes anywhere."""
    start = provider.ConsumeIntInRange(0, len(memory.view) - 1)
    raw = provider.ConsumeBytes(24)[: len(memory.view) - start]
    memory.view[start : start + len(raw)] = raw


def forge_text(provider: Any, ring: Memory, slot: int) -> None:
    """A slot's text with lengths that fit, so that the decoders behind them are reached."""
    parts = [
        provider.PickValueInList([b"", b"session", b"\xff\xfe", b"s" * 60]),
        provider.PickValueInList([b"", b"port", b"\xed\xa0\x80"]),
        provider.PickValueInList(DTYPES) if provider.ConsumeBool() else provider.ConsumeBytes(40),
        provider.PickValueInList([b"", b"{}", b"[1]", b"[" * 40, b"1" * 8 + b"f32"]),
    ]
    text = b"".join(parts)[:112]
    at = SLOTS + slot * SLOT_BYTES
    ring.view[at + 144 : at + 144 + len(text)] = text
    for index, part in enumerate(parts):
        ring.poke("I", at + 128 + 4 * index, len(part))
    ring.poke("B", at + 29, provider.ConsumeIntInRange(0, 4))
    ring.poke("B", at + 30, provider.ConsumeIntInRange(0, 4))
