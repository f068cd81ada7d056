"""Every ordered access bears the name of what it pairs with, and that name stands at both ends."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import remotemedia

ROOT = Path(remotemedia.__file__).parent
HEADERS = ("_ring_ops.h", "_cuts.h", "_turns.h", "_pool.h", "_ring_abi.h")
_COMMENT = re.compile(r"SYNC ([a-z]+(?:-[a-z]+)*(?:, [a-z]+-[a-z]+)*)")


def labels_of(text: str) -> Counter[str]:
    return Counter(label for found in _COMMENT.findall(text) for label in found.split(", "))


def lonely(labels: Counter[str]) -> list[str]:
    return sorted(label for label, count in labels.items() if count < 2)


def declared() -> set[str]:
    """The list at the top of _ring_ops.h."""
    head = (ROOT / "_ring_ops.h").read_text().partition("*/")[0]
    return set(re.findall(r"^ \*   ([a-z][a-z-]+)   +\S", head, re.M))


def labels_in_use() -> Counter[str]:
    # Without each file's opening words, which speak of labels.
    return sum((labels_of((ROOT / source).read_text().partition("*/")[2]) for source in HEADERS), Counter()) + (
        labels_of("".join((ROOT / module).read_text() for module in ("_segment.pxd", "_segment.pyx", "_ring.pyx")))
    )


def test_every_label_has_a_partner() -> None:
    assert not lonely(labels_in_use())


def test_labels_are_those_declared() -> None:
    assert set(labels_in_use()) == declared()
    assert len(declared()) >= 9


def test_a_label_without_partner_is_found() -> None:
    text = "/* SYNC tail-publish */ /* SYNC tail-publish, sleep-data */ // SYNC closed: because"
    assert lonely(labels_of(text)) == ["closed", "sleep-data"]


def test_ordered_accesses_bear_a_label() -> None:
    """Of those in the protocol header, each has one within the few lines above it."""
    lines = (ROOT / "_ring_ops.h").read_text().splitlines()
    ordered = re.compile(r"RM_(LOAD|STORE)_(ACQUIRE|RELEASE|ORDERED)\(|atomic_(fetch|exchange|compare)\w*\(")
    unlabelled = []
    for number, line in enumerate(lines):
        if not ordered.search(line) or "memory_order_relaxed" in line:
            continue
        near = "\n".join(lines[max(0, number - 6) : number + 1])
        if "SYNC" not in near and "bell_disarm" not in near:
            unlabelled.append(f"{number + 1}: {line.strip()}")
    if unlabelled:
        pytest.fail("no SYNC label at\n" + "\n".join(unlabelled))
