"""``python -m bench capacity``: how many callers each contender serves in time, and what one costs."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.capacity.callers import Row
from bench.capacity.contenders import CONTENDERS, Contender
from bench.capacity.report import COMMON, capacity_section, save
from bench.capacity.search import Lengths, holds, most
from bench.machine import describe
from bench.run import figures
from bench.workers import ContenderFailed

_KEYS = {contender.key: contender for contender in CONTENDERS}
_LENGTHS, _QUICK_LENGTHS = Lengths(2.0, 10.0), Lengths(0.7, 0.6)
_STARTS, _QUICK_STARTS = 20, 1
_MOST, _QUICK_MOST = 512, 2

_DESCRIPTION = f"""\
How many callers in real time can be served at once? Each sends 20 ms of audio at a time to three nodes of his own,
which resample it, listen for speech, and pass it on. Their number is raised until p95 of lateness exceeds 20 ms.

contenders: {", ".join(_KEYS)}
"""
_EXAMPLES = """\
examples:
  python -m bench capacity --quick                                     a first look, in less than a minute
  python -m bench capacity --json bench/results/capacity.json          all of them, at length
  python -m bench capacity --only remotemedia,pipecat-each --most 16
"""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    lengths = _QUICK_LENGTHS if options.quick else _LENGTHS
    if options.secs:
        lengths = Lengths(min(lengths.warm_secs, options.secs), options.secs)
    starts = options.starts or (_QUICK_STARTS if options.quick else _STARTS)
    limit = options.most or (_QUICK_MOST if options.quick else _MOST)
    shown = {"quick": options.quick, "secs": lengths.secs, "starts": starts, "most": limit}
    results: Row = {"machine": describe(), "options": shown, "missing": [], "contenders": [], "tries": []}
    with tempfile.TemporaryDirectory(prefix="remotemedia-bench-") as folder:
        for contender in options.only or CONTENDERS:
            try:
                found = _measured(contender, lengths, starts, limit, Path(folder), results["tries"])
                results["contenders"].append(found)
            except ContenderFailed as error:
                results["missing"].append(f"{contender.name}: {error}")
                print(f"failed: {results['missing'][-1]}", file=sys.stderr)
            if options.json:
                save(results, options.json)  # each, so that a run that is cut short has not been for nothing
    print(capacity_section(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench capacity",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one or two callers, and short tries")
    parser.add_argument("--only", type=_contenders, metavar="NAME[,NAME]", help="these contenders")
    parser.add_argument("--most", type=_count, metavar="N", help=f"no more callers than this; {_MOST} unless given")
    parser.add_argument("--secs", type=_secs, metavar="S", help=f"that a try lasts; {_LENGTHS.secs:g} unless given")
    parser.add_argument("--starts", type=_count, metavar="N", help=f"that are timed; {_STARTS} unless given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, for bench report")
    return parser


def _contenders(text: str) -> list[Contender]:
    names = text.split(",")
    for name in names:
        if name not in _KEYS:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(_KEYS)}")
    return [_KEYS[name] for name in names]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 4")
    return int(text)


def _secs(text: str) -> float:
    try:
        secs = float(text)
    except ValueError:
        secs = 0.0
    if not 0.1 <= secs <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 3600")
    return secs


def _measured(contender: Contender, lengths: Lengths, starts: int, limit: int, scratch: Path, tries: list[Row]) -> Row:
    """Its capacity and what else is asked once; the tries go to their list."""

    def note(row: Row) -> None:
        tries.append(row)
        late = f"p95 {row['p95'] / 1e6:.1f} ms" if "p95" in row else row.get("error", "nothing came")
        print(f"{contender.name}, callers: {row['callers']}: {late}", file=sys.stderr)

    def served(callers: int) -> bool:
        return holds(contender, callers, lengths, scratch, note)

    if lacks := contender.lacks():
        raise ContenderFailed(lacks)
    base, started_ns = contender.first_steps(scratch, starts)
    if contender.searched:
        capacity = most(served, limit)
    else:
        capacity = None
        served(min(COMMON, limit))
    return {
        "key": contender.key,
        "name": contender.name,
        "isolated": contender.isolated,
        "capacity": capacity,
        "start": figures(started_ns),
        "base": asdict(base),
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
