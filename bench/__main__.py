"""The benchmarks between processes: ``python -m bench --help``."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.contender import Contender
    from bench.results import Results

MODES = ("hot", "paced", "throughput", "pipeline", "idle", "start", "sessions", "speech", "service")
SIZES = (64, 9_600, 192_000, 921_600, 3_840_000, 6_220_800, 10_000_000)
QUICK_SIZES = (64, 10_000_000)
# Of the tables, where nobody looks at a screen.
_WIDTH = 110

_DESCRIPTION = """\
Measures remotemedia beside other ways to pass arrays between processes, all in one run, taking turns, on the same work.

  hot         both sides awake: ping-pong
  paced       the receiver sleeps: 1 kHz and 50 Hz
  throughput  as many messages as possible, none lost
  pipeline    five nodes pass on an audio buffer
  idle        what a pipeline of ours costs at rest and with 100 messages a second
  start       five nodes, beside five interpreters that import numpy
  sessions    ten sessions at once beside one, and what nine notice when one crashes
  speech      a spoken question is answered: a process per node beside the same nodes in one
  service     a session behind the gRPC service beside one in the program itself
  all         all of these (the default)
  capacity    how many callers are served in time; half an hour, not in all; see capacity --help
  report      docs/performance.md and its figures from a file of results
"""
_EXAMPLES = """\
examples:
  python -m bench --quick                               a first look, in less than a minute
  python -m bench --json bench/results/mine.json        everything, in less than ten
  python -m bench hot --only remotemedia,iceoryx2 --sizes 64,10M
  python -m bench sessions                              a minute of each, where a full run has 15 s
  python -m bench paced --plot-dir plots
  python -m bench capacity --quick
  python -m bench report bench/results/mine.json
"""


def _size(text: str) -> int:
    units = {"B": 1, "k": 1_000, "kB": 1_000, "M": 1_000_000, "MB": 1_000_000}
    number = text.strip().rstrip("BkM")
    try:
        size = round(float(number) * units[text.strip()[len(number) :] or "B"])
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 64, 192k or 10M") from None
    if size < 8 or size % 8:
        raise argparse.ArgumentTypeError(f"{text!r}: messages are int64, so a size must be a multiple of 8 bytes")
    return size


def _sizes(text: str) -> list[int]:
    return [_size(part) for part in text.split(",")]


def _families(text: str) -> list[str]:
    from bench.peers import FAMILIES

    names = text.split(",")
    for name in names:
        if name not in FAMILIES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(FAMILIES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("mode", nargs="?", default="all", choices=(*MODES, "all", "report"), metavar="MODE")
    parser.add_argument("file", nargs="?", type=Path, help="for report: the results")
    parser.add_argument("--quick", action="store_true", help="short turns and two sizes")
    parser.add_argument("--only", type=_families, metavar="NAME[,NAME]", help="these contenders, beside the limits")
    parser.add_argument("--sizes", type=_sizes, metavar="SIZE[,SIZE]", help="such as 64,192k,10M")
    parser.add_argument("--no-pin", action="store_true", help="let the scheduler place the processes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    parser.add_argument("--plot-dir", type=Path, metavar="DIR", help="write the figures here, as SVG and PNG")
    parser.add_argument("--check", action="store_true", help="for report: write nothing, fail if it would change")
    return parser


def main() -> int:
    if sys.argv[1:2] == ["capacity"]:
        from bench.capacity.__main__ import main as capacity

        return capacity(sys.argv[2:])
    parser = _parser()
    options = parser.parse_args()
    if options.mode == "report":
        if options.file is None:
            parser.error("report needs a file of results")
        return _report(options.file, check=options.check)
    if options.file is not None:
        parser.error("a file goes with report only")
    return _measure(options)


def _report(source: Path, *, check: bool) -> int:
    from bench import report

    if check:
        lines = report.differences(source)
        print("\n".join(lines), end="\n" if lines else "")
        return 1 if lines else 0
    for path in report.write(source):
        print(path)
    return 0


def _measure(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from bench import machine, peers
    from bench.limits import Limits
    from bench.results import Results
    from bench.run import Run

    signal.signal(signal.SIGTERM, _terminated)
    errors = Console(stderr=True)
    missing: list[str] = []
    contenders: list[Contender] = []
    for family in options.only or peers.FAMILIES:
        if peers.installed(family):
            contenders += peers.contenders(family)
        else:
            missing.append(f"{family}: not installed; pip install -e '.[bench]'")
            errors.print(missing[-1], markup=False)
    sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    cpus = None if options.no_pin else machine.two_cpus()
    with (
        tempfile.TemporaryDirectory(prefix="remotemedia-bench-") as folder,
        # Drawn only when something is said: a thread that redraws would run in the middle of everybody's turn.
        Live(console=errors, auto_refresh=False, transient=True) as screen,
    ):
        scratch, pinned = Path(folder), cpus or (None, None)
        run = Run(
            sizes=sizes,
            contenders=contenders,
            cpus=pinned,
            limits=Limits(scratch, pinned),
            scratch=scratch,
            say=lambda text: screen.update(Text(text), refresh=True),
            quick=options.quick,
            alone=options.mode != "all",
        )
        for mode in MODES if options.mode == "all" else (options.mode,):
            import_module(f"bench.modes.{mode}").measure(run)
    shown = {"mode": options.mode, "quick": options.quick, "sizes": list(sizes), "pinned": cpus is not None}
    results = Results(machine.describe(), shown, run.rows, missing + run.failures)
    _show(results, run.failures)
    if options.json:
        results.save(options.json)
    if options.plot_dir:
        from bench.plot import plot

        plot(results, options.plot_dir, ["svg", "png"])
    return 0


def _terminated(number: int, frame: object) -> None:
    """Ends the run as Ctrl-C does: with everything that it started."""
    sys.exit(128 + number)


def _show(results: Results, failures: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from bench import tables

    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    for found in tables.all_of(results):
        table = Table(title=found.title, title_justify="left")
        for heading in found.headings:
            text = heading in tables.TEXT_HEADINGS
            table.add_column(heading, justify="left" if text else "right", no_wrap=text)
        before = None
        for row in found.rows:
            if found.headings[0] == "size" and before not in (None, row[0]):
                table.add_section()
            before = row[0]
            table.add_row(*row)
        console.print(table)
    for line in failures:
        console.print(f"failed: {line}", style="red", markup=False)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
