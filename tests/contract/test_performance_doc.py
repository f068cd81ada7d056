"""docs/performance.md says what the committed results say, and nothing else."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "performance.md"


def test_document_is_what_its_results_give():
    source = re.search(r"python -m bench report (\S+)`", DOCUMENT.read_text())[1]
    assert (REPOSITORY / source).is_relative_to(REPOSITORY / "bench" / "results")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "report", source, "--check"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_figure_is_there_and_shown():
    shown = set(re.findall(r"\]\(performance/(\S+\.svg)\)", DOCUMENT.read_text()))
    assert shown
    assert shown == {path.name for path in (DOCUMENT.parent / "performance").iterdir()}
