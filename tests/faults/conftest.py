"""The ledger: what these tests promise, how often they tried, and what was lost or left behind.

``python -m proof.promises`` runs them and makes docs/reliability.md of it. REMOTEMEDIA_PROMISES=long tries everything
and more often, REMOTEMEDIA_PROMISES_ONLY names criteria, REMOTEMEDIA_PROMISES_JSON the file for the ledger.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
LONG = os.environ.get("REMOTEMEDIA_PROMISES") == "long"


@dataclass
class Entry:
    """One promise. Tests with the same one share it."""

    criterion: str
    promised: str
    tried: str
    counts: Counter[str] = field(default_factory=Counter)
    """How often, by what was counted: "sessions", "crashes", "messages"."""
    lost: int = 0
    """What was counted and did not come; a test that fails counts as one."""
    left: int = 0
    """Tests that left something behind."""
    secs: float = 0.0
    figures: dict[str, list[float]] = field(default_factory=dict)
    bounds: dict[str, float] = field(default_factory=dict)

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] += by

    def lose(self, number: int) -> None:
        """So many did not come. The test must fail, too."""
        self.lost += number

    def took(self, name: str, *values: float, p95_at_most: float | None = None) -> None:
        """Figures, with their unit in the name ("detection, ms"). Nothing is asserted of them: the table judges."""
        self.figures.setdefault(name, []).extend(values)
        if p95_at_most is not None:
            self.bounds[name] = p95_at_most


_ENTRIES = pytest.StashKey[dict[tuple[str, str], Entry]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", 'promise(criterion, promised, tried): a line of docs/reliability.md; "SC-005" is in docs/contract.md'
    )
    config.addinivalue_line("markers", "long: only in python -m proof.promises, the long form")


def _entry(item: pytest.Item) -> Entry | None:
    marker = item.get_closest_marker("promise")
    if marker is None:
        return None
    entries = item.config.stash.setdefault(_ENTRIES, {})
    criterion, promised, tried = marker.args
    return entries.setdefault((criterion, promised), Entry(criterion, promised, tried))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    started = time.monotonic()
    try:
        return (yield)
    finally:
        if (entry := _entry(item)) is not None:
            entry.secs += time.monotonic() - started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    entry = _entry(item)
    if entry is not None:
        if report.skipped:
            entry.count("skipped")  # what this machine cannot do
        elif report.when == "call":
            entry.count("tests")
        if report.failed:
            entry.lost += report.when != "teardown"
            entry.left += report.when == "teardown"
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    target = os.environ.get("REMOTEMEDIA_PROMISES_JSON")
    if target:
        entries = session.config.stash.get(_ENTRIES, {})
        whole = Entry("the whole run", "nothing is left after all of these tests", "what they held before and after")
        whole.count("runs")
        # Nothing else fails a run without a test that fails.
        whole.left = int(session.exitstatus != 0 and session.testsfailed == 0)
        rows = [
            {
                "criterion": entry.criterion,
                "promised": entry.promised,
                "tried": entry.tried,
                "counts": dict(entry.counts),
                "lost": entry.lost,
                "left": entry.left,
                "secs": round(entry.secs, 1),
                "figures": {name: _summary(values, entry.bounds.get(name)) for name, values in entry.figures.items()},
            }
            for entry in (*entries.values(), whole)
            if entry.counts.keys() - {"skipped"}
        ]
        Path(target).write_text(json.dumps({"long": LONG, "rows": rows}, indent=1))


def _summary(values: list[float], bound: float | None) -> dict[str, float | int | None]:
    ordered = sorted(values)

    def at(quantile: float) -> float:
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]

    return {"count": len(ordered), "p50": at(0.5), "p95": at(0.95), "max": ordered[-1], "p95_at_most": bound}


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Entry:
    """The line of the table that this test's promise mark names."""
    entry = _entry(request.node)
    assert entry is not None, "a test that counts says what for: @pytest.mark.promise(...)"
    return entry


@pytest.fixture(scope="session")
def scale() -> Any:
    """``scale(quick, long)``: the first in a run of the tests, the second in ``python -m proof.promises --long``."""

    def choose(quick: T, long: T) -> T:
        return long if LONG else quick

    return choose


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the form of this run leaves out is deselected, not skipped: nothing is missing."""
    only = os.environ.get("REMOTEMEDIA_PROMISES_ONLY")

    def wanted(item: pytest.Item) -> bool:
        if item.get_closest_marker("long") is not None and not LONG:
            return False
        promise = item.get_closest_marker("promise")
        return only is None or (promise is not None and promise.args[0] in only.split(","))

    if unwanted := [item for item in items if not wanted(item)]:
        config.hook.pytest_deselected(items=unwanted)
        items[:] = filter(wanted, items)


@pytest.fixture(scope="session")
def beside() -> Callable[[str], ModuleType]:
    """``beside("memory_nodes")``: a module of these tests, by the name under which their programs import it."""

    def load(name: str) -> ModuleType:
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
            assert spec is not None and spec.loader is not None
            sys.modules[name] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return sys.modules[name]

    return load


@pytest.fixture(scope="session")
def security_nodes(beside: Callable[[str], ModuleType]) -> ModuleType:
    """Node classes of the tests of security."""
    return beside("security_nodes")
