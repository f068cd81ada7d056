"""Figures for Prometheus and log records as JSON: what operators of many sessions look at. docs/monitoring.md.

Needs the extra ``monitoring``; importing this package alone needs and loads nothing.
"""

# May import: core.multiprocessing, errors, _install, _naming

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remotemedia.monitoring._logs import json_log_formatter
    from remotemedia.monitoring._prometheus import PrometheusCollector
    from remotemedia.monitoring._server import MetricsServer, serve_metrics

__all__ = ["MetricsServer", "PrometheusCollector", "json_log_formatter", "serve_metrics"]

_HOME_OF = {
    "MetricsServer": "_server",
    "PrometheusCollector": "_prometheus",
    "json_log_formatter": "_logs",
    "serve_metrics": "_server",
}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOME_OF[name]}")
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in ("prometheus_client", "pythonjsonlogger"):
            raise
        from remotemedia._install import install_advice

        advice = install_advice("monitoring")
        raise ImportError(f"{name} needs {library}, which is not installed: {advice}") from error
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
