"""The libraries of the gRPC service and of its clients: whether those that are installed are the ones that are needed.

Looked at when they could not be loaded: what one version says of another is long, and seldom says what to install.
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
"""Of each distribution, the first version that will do, and the first that will not any more."""


def unfit_library() -> str | None:
    """Which library has a version that is not fit, and how to get one that is; None when there is none of that kind."""
    from importlib.metadata import PackageNotFoundError, version

    for name, (first, end) in NEEDED.items():
        try:
            there = version(name)
        except PackageNotFoundError:
            continue
        if not _numbers(first) <= _numbers(there) < _numbers(end):
            wanted = f"{name}>={first},<{end}"
            return f"{name} {there} is installed, and {wanted} is needed: python -m pip install '{wanted}'"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
