"""MultiprocessConfig refuses what a setting cannot be, and names the setting."""

from __future__ import annotations

import pytest

from remotemedia.core.multiprocessing import MultiprocessConfig


def test_configs_are_checked() -> None:
    for wrong, kind in (
        ({"channel_capacity": 0}, ValueError),
        ({"channel_capacity": 1.5}, TypeError),
        ({"max_processes_per_session": 0}, ValueError),
        ({"init_timeout_secs": 0}, ValueError),
        ({"init_timeout_secs": "1"}, TypeError),
        ({"cleanup_grace_period_secs": float("nan")}, ValueError),
        ({"shm_segment_size": 1}, ValueError),
        ({"enable_backpressure": 1}, TypeError),
        ({"extra_paths": "nodes"}, TypeError),
        ({"python_executable": ""}, TypeError),
        ({"spin_us": -1}, ValueError),
    ):
        (name,) = wrong
        with pytest.raises(kind, match=name):
            MultiprocessConfig(**wrong)  # type: ignore[arg-type]
