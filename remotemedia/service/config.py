"""ServiceConfig: the settings of the gRPC service."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ServiceConfig"]


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """Settings of the service.

    Attributes:
        host, port: where it listens; port 0 lets the kernel choose.
        max_message_bytes: the largest message taken or sent.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    max_message_bytes: int = 16 * 1024 * 1024 + 64 * 1024
