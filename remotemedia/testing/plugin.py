"""The plugin that pytest finds by itself: the fixture ``remotemedia_leak_check``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

__all__ = ["remotemedia_leak_check"]


@pytest.fixture
def remotemedia_leak_check() -> Iterator[None]:
    """Fails the test if it leaves processes, threads, descriptors or shared memory behind.

    ``pytestmark = pytest.mark.usefixtures("remotemedia_leak_check")`` checks every test of a file.
    """
    from remotemedia.testing.leaks import no_leaks

    with no_leaks():
        yield
