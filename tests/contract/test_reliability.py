"""The table of promises tells what the tests saw, also when that is bad, and docs/reliability.md is made of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
REPOSITORY = TESTS.parent
sys.path.append(str(REPOSITORY))

from proof import reliability  # noqa: E402

RESULTS = REPOSITORY / "proof" / "reliability.json"
NOTHING_LEFT = "nothing is left after all of these tests"


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder with our conftests and tests that lose and leave things."""
    for name in ("conftest.py", "holdings.py", "watchdog.py"):
        shutil.copy(TESTS / name, tmp_path)
    shutil.copytree(TESTS / "session", tmp_path / "session", ignore=shutil.ignore_patterns("test_*"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    folder = tmp_path / "faults"
    folder.mkdir()
    for path in (TESTS / "faults").glob("*.py"):
        if not path.name.startswith("test_"):
            shutil.copy(path, folder)
    (folder / "test_bad.py").write_text(
        textwrap.dedent("""
            import os
            import pytest

            def promise(what):
                return pytest.mark.promise("SC-000", what, "a plant")

            @promise("kept")
            def test_kept(ledger, leak_check, scale):
                ledger.count("messages", scale(3, 5))
                ledger.took("wait, ms", 1.0, 2.0, 3.0, p95_at_most=2)

            @promise("lost")
            def test_lost(ledger):
                ledger.count("messages", 3)
                ledger.lose(2)
                assert False

            @promise("left")
            def test_left(leak_check):
                os.dup(0)

            @promise("left")
            def test_not_here():
                pytest.skip("not here")

            @promise("skipped")
            def test_skipped():
                pytest.skip("not here")

            @pytest.mark.long
            @promise("only in the long form")
            def test_long():
                pass
        """)
    )
    return tmp_path


def ledger_of(folder: Path, form: str) -> reliability.Ledger:
    target = folder / "ledger.json"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", "pyproject.toml", "faults"],
        cwd=folder,
        env={**os.environ, "REMOTEMEDIA_PROMISES": form, "REMOTEMEDIA_PROMISES_JSON": str(target)},
        capture_output=True,
        check=False,
    )
    ledger: reliability.Ledger = json.loads(target.read_text())
    return ledger


def test_what_was_lost_and_left_is_told(bad: Path) -> None:
    quick = ledger_of(bad, "quick")
    assert not reliability.kept(quick)
    kept, lost, left, whole = quick["rows"]
    assert [row["promised"] for row in quick["rows"]] == ["kept", "lost", "left", NOTHING_LEFT]
    assert reliability.cells(kept) == (
        *("SC-000", "kept", "a plant", "3 messages", "nothing", "nothing"),
        "wait, ms: p50 2, p95 3, max 3 (wanted: p95 at most 2; NOT MET)",
    )
    assert reliability.cells(lost)[3:6] == ("3 messages", "3", "nothing")
    assert reliability.cells(left)[3:6] == ("1 test, 1 skipped", "nothing", "1")
    assert [reliability.row_kept(row) for row in quick["rows"]] == [True, False, False, True]
    assert whole["counts"] == {"runs": 1}


def test_what_is_left_in_the_end_is_told(bad: Path) -> None:
    (bad / "faults" / "test_bad.py").write_text("import os\n\ndef test_without_a_check():\n    os.dup(0)\n")
    (whole,) = ledger_of(bad, "quick")["rows"]
    assert (whole["promised"], whole["left"]) == (NOTHING_LEFT, 1)


def test_the_long_form_tries_more(bad: Path) -> None:
    long = ledger_of(bad, "long")
    assert [row["promised"] for row in long["rows"]] == [
        *("kept", "lost", "left", "only in the long form"),
        NOTHING_LEFT,
    ]
    assert long["rows"][0]["counts"]["messages"] == 5


def test_the_document_is_made_of_the_results() -> None:
    assert reliability.differences(RESULTS) == []


def test_the_document_says_that_nothing_was_lost_and_nothing_left() -> None:
    ledger = json.loads(RESULTS.read_text())
    assert reliability.kept(ledger)
    assert all(row["long"] for row in ledger["rows"])


def test_one_criterion_run_again_leaves_the_others(tmp_path: Path) -> None:
    def ledger(*rows: tuple[str, int]) -> reliability.Ledger:
        return {"rows": [{"criterion": name, "lost": lost} for name, lost in rows]}

    source = tmp_path / "results.json"
    newer = ledger(("b", 0))
    assert reliability.updated(source, newer) == newer
    reliability.save(ledger(("a", 1), ("b", 2), ("b", 3), ("c", 4)), source)
    assert reliability.updated(source, newer) == ledger(("a", 1), ("c", 4), ("b", 0))
