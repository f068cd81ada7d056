"""``pytest bench --benchmark-enable`` runs the benchmarks, although the project's own options skip them everywhere."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # pytest-benchmark reads its options after this; for it, "skip" in addopts would beat "enable" on the command line.
    if config.getoption("benchmark_enable", default=False):
        config.option.benchmark_skip = False
