"""A service from its start to its end: what it prints, what it logs, what signals do to it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from remotemedia._libraries import unfit_library
from remotemedia._naming import authority
from remotemedia._orphans import reaping_strangers
from remotemedia.cli._errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_TERMINATED, Mistake, complain
from remotemedia.cli._manifests import know_node_types
from remotemedia.cli._run_signals import terminable
from remotemedia.settings import resolve_service_settings, resolve_settings

if TYPE_CHECKING:
    from remotemedia.service.config import ServiceConfig
    from remotemedia.service.server import Service

__all__ = ["run_service"]

_PLAIN_LOG = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run_service(
    *,
    overrides: Mapping[str, object],
    config_path: Path | None,
    node_modules: Sequence[str],
    as_json: bool,
    verbose: bool,
    debug: bool,
) -> int:
    """Serves until a signal comes; the exit code. ConfigurationError or Mistake says what to put right."""
    with terminable():
        config = resolve_service_settings(config_path=config_path, overrides=overrides).config
        sessions = resolve_settings(config_path=config_path).config
        _set_up_logging(config, verbose=verbose, debug=debug)
        know_node_types(node_modules, config_path)
        service = _service_class()(config, sessions)
    return asyncio.run(_serve(service, as_json=as_json))


def _service_class() -> type[Service]:
    # gRPC's core has a log of its own on stderr, where it reports every client that goes.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        from remotemedia.service.server import Service
    except Exception as error:
        # A library of an unsuitable version may raise anything.
        if unfit := unfit_library():
            raise Mistake(f"serve cannot use its libraries: {unfit}") from None
        library = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else "remotemedia"
        if library == "remotemedia":
            raise
        if isinstance(error, ModuleNotFoundError):
            from remotemedia._install import install_advice

            raise Mistake(f"serve needs {library}, which is not installed: {install_advice('grpc')}") from None
        raise Mistake(f"serve cannot load {library or 'its libraries'}: {error}") from None
    return Service


async def _serve(service: Service, *, as_json: bool) -> int:
    signals: asyncio.Queue[int] = asyncio.Queue()
    with _signals_into(signals), reaping_strangers(asyncio.get_running_loop()):
        try:
            await service.start()
        except OSError as error:
            raise Mistake(error.strerror or str(error)) from None
        except ImportError as error:
            raise Mistake(f"metrics_port: {error}") from None
        try:
            click.echo(_announcement(service, as_json=as_json))
            await signals.get()
        except BaseException:
            await service.stop(0)
            raise
        return await _stop(service, signals)


async def _stop(service: Service, signals: asyncio.Queue[int]) -> int:
    """Drains, until it is done or one more signal comes."""
    if running := len(service.executor.sessions):
        sessions = f"{running} session{'' if running == 1 else 's'}"
        complain(f"stopping: {sessions} may take {service.config.drain_secs:g} s to finish; once more ends all at once")
    stopping, again = asyncio.ensure_future(service.stop()), asyncio.ensure_future(signals.get())
    await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
    if again.done() and not stopping.done():
        service.end()
        await stopping
        return EXIT_INTERRUPTED if again.result() == signal.SIGINT else EXIT_TERMINATED
    again.cancel()
    await stopping
    return EXIT_DONE


@contextmanager
def _signals_into(signals: asyncio.Queue[int]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    # A shell's background job starts with SIGINT ignored, and stays so.
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, signals.put_nowait, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _announcement(service: Service, *, as_json: bool) -> str:
    config = service.config
    address = authority(config.host, service.port)
    if as_json:
        facts = {
            "address": address,
            "host": config.host,
            "port": service.port,
            "pid": os.getpid(),
            "tls": config.tls_certificate is not None,
            "tokens": config.checks_tokens,
            "metrics": service.metrics_url or None,
        }
        return json.dumps(facts)
    metrics = f", metrics at {service.metrics_url}" if service.metrics_url else ""
    return f"listening at {address}{metrics}"


def _set_up_logging(config: ServiceConfig, *, verbose: bool, debug: bool) -> None:
    """The log goes to stderr: warnings and the access log, or more."""
    handler = logging.StreamHandler()
    if config.json_log:
        try:
            from remotemedia.monitoring import json_log_formatter
        except ImportError as error:
            raise Mistake(f"json_log: {error}") from None
        handler.setFormatter(json_log_formatter())
    else:
        handler.setFormatter(logging.Formatter(_PLAIN_LOG))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.getLogger("remotemedia").setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    logging.getLogger("remotemedia.access").setLevel(logging.INFO)
