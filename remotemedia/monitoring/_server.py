"""A small HTTP server for Prometheus: one thread that sleeps until somebody scrapes."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

from remotemedia._naming import authority
from remotemedia.core.multiprocessing import MultiprocessExecutor, Session
from remotemedia.monitoring._prometheus import PrometheusCollector

__all__ = ["MetricsServer", "serve_metrics"]

_CLIENT_TIMEOUT_SECS = 5.0
"""A client that says nothing for so long has had its turn: there is one thread for all."""

_NO_DESCRIPTORS_SECS = 1.0

_logger = logging.getLogger("remotemedia.monitoring")


def serve_metrics(
    source: MultiprocessExecutor | Session,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    also: Iterable[Collector] = (),
    session_ids: bool = False,
) -> MetricsServer:
    """Serves the figures of ``source`` to Prometheus at ``http://host:port/metrics``, from a thread of its own.

    ``port`` 0 takes any free one; the answer's ``port`` says which. ``also``: whose figures are on the same page.
    ``session_ids``: each session has gauges of its own, with its id as a label.
    Anyone who can reach the address can read it: there is no password. Raises OSError when the address cannot be had.
    """
    return MetricsServer([PrometheusCollector(source, session_ids=session_ids), *also], host, port)


class MetricsServer:
    """What ``serve_metrics`` started; ``close()`` it, or use it in a ``with`` block.

    Attributes:
        host, port: where it listens.
    """

    def __init__(self, collectors: Iterable[Collector], host: str, port: int) -> None:
        registry = CollectorRegistry()
        for collector in collectors:
            registry.register(collector)
        try:
            self._server = _Server(host, port)
        except (OSError, OverflowError) as error:
            number = error.errno if isinstance(error, OSError) else errno.EINVAL
            raise OSError(number, f"cannot serve metrics on {host} port {port}: {error}") from error
        self._server.set_app(make_wsgi_app(registry))
        address = self._server.server_address
        self.host, self.port = str(address[0]), int(address[1])
        self._thread = threading.Thread(target=self._server.serve, name="remotemedia-metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What Prometheus is to scrape."""
        return f"http://{authority(self.host, self.port)}/metrics"

    def close(self) -> None:
        """Closes the port, also under a scrape that is under way, and waits for the thread to end. May be repeated."""
        self._server.stop()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_TIMEOUT_SECS

    def log_message(self, format: str, *args: Any) -> None:
        _logger.debug("%s: %s", self.client_address[0], format % args)


class _Server(WSGIServer):
    """``serve_forever`` of the standard library looks twice a second whether it is to stop; ``serve`` is woken."""

    def __init__(self, host: str, port: int) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self._stopping = threading.Event()
        self._client: socket.socket | None = None
        super().__init__((str(address[0]), port), _Handler)

    def serve(self) -> None:
        while not self._stopping.is_set():
            self.handle_request()

    def stop(self) -> None:
        self._stopping.set()
        # Whatever the thread waits for is over: a connection, or the client it has.
        for waited_for in (self.socket, self._client):
            if waited_for is not None:
                with contextlib.suppress(OSError):
                    waited_for.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            # No descriptors left, maybe: the connection waits on, and asking again at once would spin.
            self._stopping.wait(_NO_DESCRIPTORS_SECS)
            raise

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._client = request
        try:
            if not self._stopping.is_set():
                super().finish_request(request, client_address)
        finally:
            self._client = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        _logger.debug("a scrape by %s failed", client_address, exc_info=True)
