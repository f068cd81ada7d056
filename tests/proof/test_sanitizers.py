"""The C core under sanitizers and stress, and each of them seen to find a bug.

Bugs are planted in copies of the sources, most of them in the product's own headers, by changing their text.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCES = [
    REPOSITORY / "proof" / "stress.c",
    REPOSITORY / "proof" / "stress_world.h",
    REPOSITORY / "proof" / "pool.c",
    *(
        REPOSITORY / "remotemedia" / header
        for header in ("_ring_abi.h", "_cuts.h", "_turns.h", "_message.h", "_ring_ops.h", "_pool.h")
    ),
]
COMPILER = ["cc", "-std=c11", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-g", "-pthread"]
BUILDS = {
    "plain": ["-O3"],
    # gcc expands the copy of a slot in place, where ThreadSanitizer does not see it; a call to memcpy it does.
    "thread": ["-O1", "-fno-builtin", "-fsanitize=thread"],
    "address,undefined": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
}
MESSAGES = {"plain": "50000", "thread": "20000", "address,undefined": "40000"}
SEED = "1"
SANITIZER_OPTIONS = {
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
    "ASAN_OPTIONS": "exitcode=66",
    "UBSAN_OPTIONS": "exitcode=66",
}

Compile = Callable[..., Path]


def not_here(what: str) -> NoReturn:
    """A skip, unless this run is there to prove something."""
    if os.environ.get("REMOTEMEDIA_REQUIRE_PROOF"):
        pytest.fail(what)
    pytest.skip(what)


def links(folder: Path, flags: list[str]) -> bool:
    source = folder / "empty.c"
    source.write_text("int main(void) { return 0; }\n")
    done = subprocess.run([*COMPILER, *flags, str(source), "-o", str(folder / "empty")], capture_output=True)
    return done.returncode == 0


@pytest.fixture(scope="module")
def compile_proof(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """``compile_proof(program, build, plant)``: the path of what it built; each one is built once."""
    built: dict[tuple[str, str, Plant | None], Path] = {}

    def compiled(program: str, build: str, plant: Plant | None = None) -> Path:
        key = (program, build, plant)
        if key not in built:
            folder = tmp_path_factory.mktemp("build")
            if shutil.which(COMPILER[0]) is None:
                not_here("there is no C compiler")
            if not links(folder, BUILDS[build]):
                not_here(f"cc cannot link {' '.join(BUILDS[build])}: the sanitizer's runtime is missing")
            for source in SOURCES:
                shutil.copy(source, folder)
            if plant is not None:
                plant.put_into(folder)
            source, binary = folder / f"{program}.c", folder / program
            patience = ["-DPATIENCE_SECS=2"] if plant is not None else []
            done = subprocess.run(
                [*COMPILER, *BUILDS[build], *patience, str(source), "-o", str(binary)], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            built[key] = binary
        return built[key]

    return compiled


@cache
def fixed_addresses() -> list[str]:
    """Where addresses are very random, ThreadSanitizer of older compilers finds no room for its shadow memory."""
    command = ["setarch", platform.machine(), "-R"]
    if shutil.which("setarch") is None:
        return []
    allowed = subprocess.run([*command, "true"], capture_output=True).returncode == 0  # not so in some containers
    return command if allowed else []


def run(binary: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [*fixed_addresses(), str(binary), *args]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **SANITIZER_OPTIONS})


# As processes, each has a ThreadSanitizer of its own, and that knows nothing of the others.
STRESS = [
    ("thread", "threads"),
    ("address,undefined", "threads"),
    ("address,undefined", "processes"),
    ("plain", "processes"),
]


@pytest.mark.parametrize("wait", ["futex", "eventfd"])
@pytest.mark.parametrize(("build", "sides"), STRESS)
def test_stress(compile_proof: Compile, build: str, sides: str, wait: str) -> None:
    done = run(compile_proof("stress", build), sides, wait, MESSAGES[build], SEED)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pool(compile_proof: Compile) -> None:
    done = run(compile_proof("pool", "address,undefined"), "300000", SEED)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("program", ["stress", "pool"])
def test_a_run_that_saw_too_little_fails(compile_proof: Compile, program: str) -> None:
    args = ("threads", "futex", "1", SEED) if program == "stress" else ("1", SEED)
    done = run(compile_proof(program, "address,undefined"), *args)
    assert done.returncode == 1
    assert "run it for longer" in done.stderr


@pytest.mark.parametrize("wait", ["futex", "eventfd"])
@pytest.mark.parametrize("sides", ["threads", "processes"])
def test_stress_on_arm(tmp_path: Path, sides: str, wait: str) -> None:
    """It builds for Arm, the layout's asserts hold there, and the protocol runs with Arm's atomics.

    An emulator on x86 orders memory as x86 does: this says nothing of Arm's weaker order.
    """
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("needs aarch64-linux-gnu-gcc and qemu-aarch64")
    binary = tmp_path / "stress"
    flags = [*COMPILER[1:], *BUILDS["plain"], "-static", f"-I{REPOSITORY / 'remotemedia'}"]
    subprocess.run([compiler, *flags, str(SOURCES[0]), "-o", str(binary)], check=True)
    done = subprocess.run([emulator, str(binary), sides, wait, "5000", SEED], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# --- planted bugs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plant:
    """One bug: in ``file``, ``old`` becomes ``new``; ``found``, a pattern, is what must be said about it."""

    name: str
    file: str
    old: str
    new: str
    found: str

    def put_into(self, folder: Path) -> None:
        path = folder / self.file
        text = path.read_text()
        assert self.old in text, f"{self.file} has changed: plant {self.name!r} anew"
        path.write_text(text.replace(self.old, self.new))


RACE = "ThreadSanitizer: data race"
HELD_ALONE = "    if (!rm_block_held_alone(s, slot->block)) return;\n"
RACES = [
    Plant(
        "tail stored relaxed", "_ring_ops.h", "STORE_ORDERED(&r->shared->tail", "STORE_RELAXED(&r->shared->tail", RACE
    ),
    Plant(
        "head stored relaxed", "_ring_ops.h", "STORE_ORDERED(&r->shared->head", "STORE_RELAXED(&r->shared->head", RACE
    ),
    Plant("tail loaded relaxed", "_ring_ops.h", "LOAD_ACQUIRE(&r->shared->tail", "LOAD_RELAXED(&r->shared->tail", RACE),
    Plant("head loaded relaxed", "_ring_ops.h", "LOAD_ACQUIRE(&r->shared->head", "LOAD_RELAXED(&r->shared->head", RACE),
    Plant(
        "only holder found relaxed",
        "_ring_ops.h",
        "RM_LOAD_ACQUIRE(&s->blocks[id].references) == 1",
        "RM_LOAD_RELAXED(&s->blocks[id].references) == 1",
        RACE,
    ),
    # Whichever comes first: the race, or the other consumer's look at what it holds.
    Plant("written in place while others read", "stress.c", HELD_ALONE, "", f"{RACE}|a payload (changed|is not)"),
    Plant("reference dropped relaxed", "_ring_ops.h", "memory_order_acq_rel", "memory_order_relaxed", RACE),
    Plant(
        "blocks taken back relaxed",
        "_ring_ops.h",
        "atomic_exchange(&s->shared->returned, 0)",
        "atomic_exchange_explicit(&s->shared->returned, 0, memory_order_relaxed)",
        RACE,
    ),
    Plant(
        "slot freed before it is read",
        "_ring_ops.h",
        "    memcpy(copy, slot, RM_SLOT_SHORT);",
        "    RM_STORE_ORDERED(&r->shared->head, r->position + 1), usleep(1);\n    memcpy(copy, slot, RM_SLOT_SHORT);",
        RACE,
    ),
    Plant(
        "slot written after tail",
        "stress.c",
        "    rm_publish(r, &p->at.segment[1 + c]);\n",
        "    rm_publish(r, &p->at.segment[1 + c]);\n    slot->origin = 1;\n",
        RACE,
    ),
]
EARLY_DROP = (
    "    data = data_of(p, slot->block, slot->bytes);\n",
    '    check(intact(data, slot->bytes, slot->published_ns), "a payload changed while it was held");\n',
)
WRONG_ACCESSES = [
    Plant(
        "block read after it was given back",
        "stress.c",
        "".join(EARLY_DROP),
        EARLY_DROP[0] + "    consumer_drop(p, slot->block);\n" + EARLY_DROP[1] + "    return;\n",
        "ERROR: AddressSanitizer",
    ),
    Plant(
        "written past the block",
        "stress.c",
        "fill(data, bytes, number)",
        "fill(data, bytes + 1, number)",
        "ERROR: AddressSanitizer: use-after-poison",
    ),
]
WRONG_WRITES = [
    Plant(
        "written in place while others read",
        "stress.c",
        HELD_ALONE,
        "",
        "a payload (changed while it was held|is not what was sent)",
    ),
    Plant(
        "written through the mapping that is for reading",
        "stress.c",
        "fill(writable + (data - s->pool),",
        "fill(data,",
        "",  # a signal
    ),
]
LOST_WAKE_UPS = {
    "futex": Plant(
        "bell read after the last look",
        "_ring_ops.h",
        "rm_futex_wait(&h->bell_sequence, sequence,",
        "(usleep(10), (void)sequence, rm_futex_wait)(&h->bell_sequence, RM_LOAD_ACQUIRE(&h->bell_sequence),",
        "a wake-up was lost",
    ),
    "eventfd": Plant(
        "armed after the last look",
        "stress.c",
        "        rm_bell_arm(p->own);\n        while (!look(&l)) {",
        "        while (!look(&l)) {\n            usleep(10);\n            rm_bell_arm(p->own);",
        "a wake-up was lost",
    ),
}
POOL = [
    Plant("one descriptor too few", "_pool.h", "calloc(count,", "calloc(count - 1,", "heap-buffer-overflow"),
    Plant("shift by less than nothing", "_pool.h", "if (units >= RM_SL) search", "search", "runtime error: shift"),
    Plant("free neighbours not merged", "_pool.h", "[other].state == RM_FREE", "[other].state > RM_USED", "not merged"),
]


def check_found(done: subprocess.CompletedProcess[str], plant: Plant) -> None:
    assert done.returncode != 0, f"not found\n{done.stdout}"
    assert re.search(plant.found, done.stderr), done.stderr


def name_of(plant: object) -> str | None:
    return plant.name if isinstance(plant, Plant) else None


@pytest.mark.parametrize("plant", RACES, ids=name_of)
def test_a_race_is_found(compile_proof: Compile, plant: Plant) -> None:
    check_found(run(compile_proof("stress", "thread", plant), "threads", "futex", MESSAGES["thread"], SEED), plant)


@pytest.mark.parametrize("sides", ["threads", "processes"])
@pytest.mark.parametrize("plant", WRONG_ACCESSES, ids=name_of)
def test_a_wrong_access_is_found(compile_proof: Compile, plant: Plant, sides: str) -> None:
    build = "address,undefined"
    check_found(run(compile_proof("stress", build, plant), sides, "futex", MESSAGES[build], SEED), plant)


@pytest.mark.parametrize("plant", WRONG_WRITES, ids=name_of)
def test_a_wrong_write_is_found(compile_proof: Compile, plant: Plant) -> None:
    check_found(run(compile_proof("stress", "plain", plant), "processes", "futex", MESSAGES["plain"], SEED), plant)


@pytest.mark.parametrize(("wait", "plant"), LOST_WAKE_UPS.items(), ids=name_of)
def test_a_lost_wake_up_is_found(compile_proof: Compile, wait: str, plant: Plant) -> None:
    check_found(run(compile_proof("stress", "plain", plant), "processes", wait, MESSAGES["plain"], SEED), plant)


@pytest.mark.parametrize("plant", POOL, ids=name_of)
def test_a_wrong_pool_is_found(compile_proof: Compile, plant: Plant) -> None:
    check_found(run(compile_proof("pool", "address,undefined", plant), "300000", SEED), plant)
