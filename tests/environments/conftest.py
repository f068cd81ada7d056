"""A cache of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where environments go in this test."""
    monkeypatch.setenv("REMOTEMEDIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REMOTEMEDIA_INSTALLER", "pip")
    return tmp_path / "cache" / "environments"
