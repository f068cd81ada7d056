"""Whether the installed libraries of the gRPC service and its clients have the versions that are needed.

Checked only when loading them failed: their own errors about versions are long, and seldom say what to install.
"""

from __future__ import annotations

import re

__all__ = ["NEEDED", "unfit_library"]

NEEDED = {
    "protobuf": ("5.29.1", "8"),
    "grpcio": ("1.71", "2"),
    "grpcio-health-checking": ("1.71", "2"),
    "grpcio-reflection": ("1.71", "2"),
}
"""For each distribution, the first version that works, and the first later one that does not."""


def unfit_library() -> str | None:
    """Which library has an unsuitable version, and how to get a suitable one; None if all are suitable or missing."""
    from importlib.metadata import PackageNotFoundError, version

    for name, (first, end) in NEEDED.items():
        try:
            there = version(name)
        except PackageNotFoundError:
            continue
        if not _numbers(first) <= _numbers(there) < _numbers(end):
            wanted = f"{name}>={first},<{end}"
            return f"{name} {there} is installed, but {wanted} is needed: python -m pip install '{wanted}'"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
