"""``python -m proof.promises``: every promise under load, faults and time. Runs tests/faults and shows their ledger."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import machine
from proof import reliability

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "proof" / "reliability.json"

_DESCRIPTION = """\
Tries every promise under load, faults and time: the promise, what was tried, how often, what was lost.
Exits with 1 when anything was lost or left behind.
"""
_EXAMPLES = """\
examples:
  python -m proof.promises                          the quick form, as in the tests: less than ten minutes
  python -m proof.promises --long                   everything: about an hour
  python -m proof.promises --long --report          the same, and docs/reliability.md is made of it
  python -m proof.promises --long --only SC-005     one promise of docs/contract.md; --report keeps the others' lines
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m proof.promises",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--long", action="store_true", help="every scenario, and for longer")
    parser.add_argument("--only", metavar="CRITERION[,...]", help='such as "SC-005" or "security"')
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    parser.add_argument("--report", action="store_true", help=f"write {RESULTS.name} and docs/reliability.md")
    options = parser.parse_args(arguments)
    found = run(long=options.long, only=options.only)
    if found is None:
        return 2
    _show(found)
    if options.json:
        reliability.save(found, options.json)
    if options.report:
        reliability.save(reliability.updated(RESULTS, found) if options.only else found, RESULTS)
        print(reliability.write(RESULTS))
    return 0 if reliability.kept(found) else 1


def run(*, long: bool, only: str | None) -> reliability.Ledger | None:
    """The ledger of a run, with the machine it was made on; None when nothing was tried."""
    with tempfile.TemporaryDirectory(prefix="promises-") as folder:
        target = Path(folder) / "ledger.json"
        more = {"REMOTEMEDIA_PROMISES": "long" if long else "quick", "REMOTEMEDIA_PROMISES_JSON": str(target)}
        if only:
            more["REMOTEMEDIA_PROMISES_ONLY"] = only
        command = [sys.executable, "-m", "pytest", "tests/faults", "--quiet", "-p", "no:cacheprovider"]
        subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **more}, check=False)
        if not target.exists():
            return None
        ledger: reliability.Ledger = json.loads(target.read_text())
    where = machine.describe()
    for row in ledger["rows"]:
        row |= {"commit": where["commit"], "date": where["date"], "long": long}
    return {"machine": where, **ledger}


def _show(ledger: reliability.Ledger) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 160
    table = Table(*reliability.HEADINGS, title="Promises", title_justify="left", show_lines=True)
    for row in ledger["rows"]:
        table.add_row(*reliability.cells(row), style=None if reliability.row_kept(row) else "red")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
