"""How long a waiter spins: what ``rm_spin_learn`` makes of hits and misses, by compiling it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import remotemedia

HEADERS = Path(remotemedia.__file__).parent

PROGRAM = r"""
#include "_ring_ops.h"
#include <stdio.h>

static int never(void *arg) { return 0; }
static int third(void *arg) { return ++*(int *)arg == 3; }

#define CHECK(what) do { if (!(what)) { printf("line %d: %s\n", __LINE__, #what); return 1; } } while (0)

int main(void) {
    const uint64_t most = 20000;
    rm_spinner s = {0, 0};
    uint64_t spent = 0, now, looks;

    /* The first wait finds out. */
    CHECK(rm_spin_allowed(&s, most) == most);
    /* Hits: twice the time they took is allowed, and never more than asked for. */
    rm_spin_learn(&s, 1, 3000);
    CHECK(rm_spin_allowed(&s, most) >= 6000 && rm_spin_allowed(&s, most) < most);
    rm_spin_learn(&s, 1, 500000);
    CHECK(rm_spin_allowed(&s, most) == most && rm_spin_allowed(&s, 100) == 100);
    /* Misses: soon only the probes spin. */
    for (int i = 0; i < 16; i++) rm_spin_learn(&s, 0, most);
    for (int i = 0; i < 10 * RM_SPIN_PROBE; i++) {
        uint64_t allowed = rm_spin_allowed(&s, most);
        spent += allowed;
        rm_spin_learn(&s, 0, allowed);
    }
    CHECK(spent == 10 * most);
    /* A peer that has become quick is noticed by a probe, and trusted from then on. */
    for (int i = 0; i < RM_SPIN_PROBE; i++)
        if (rm_spin_allowed(&s, most)) rm_spin_learn(&s, 1, 500);
    CHECK(rm_spin_allowed(&s, most) >= 1000);
    /* Nothing allowed: not even a look at the clock. */
    s.allowed_ns = 0, s.waits = 0;
    CHECK(rm_spin_allowed(&s, 0) == 0);

    /* Spinning itself: a hit ends it at once, else the limit. */
    looks = 0, now = rm_now_ns();
    CHECK(rm_spin(third, &looks, &now, now + 3600000000000ull) == 1 && looks == 3);
    now = rm_now_ns();
    spent = now + 50000;
    CHECK(rm_spin(never, NULL, &now, spent) == 0 && now >= spent);
    return 0;
}
"""


def test_a_waiter_learns_whether_spinning_pays(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    source, program = tmp_path / "spin.c", tmp_path / "spin"
    source.write_text(PROGRAM)
    subprocess.run([compiler, "-std=gnu11", "-O1", "-w", f"-I{HEADERS}", source, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
