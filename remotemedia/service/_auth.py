"""Callers: checked against the tokens, and named for limits and logs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from remotemedia.service._limits import NotAdmitted
from remotemedia.service.config import ServiceConfig

__all__ = ["Authenticator"]

_SCHEME = "Bearer "


class Authenticator:
    """Identifies callers. It keeps digests of the tokens, and shows nothing else of them."""

    def __init__(self, config: ServiceConfig) -> None:
        self._digests = [_digest(token) for token in config.tokens] if config.checks_tokens else None

    def identify(
        self, metadata: Iterable[tuple[str, str | bytes]], peer: str, security: Mapping[str, Iterable[bytes]]
    ) -> str:
        """The client: its token's digest, its certificate's name, or its address. NotAdmitted without the right token.

        Args:
            metadata: of the call.
            peer: its address as gRPC writes it.
            security: what gRPC knows of its certificate.
        """
        if self._digests is not None:
            return f"token:{self._check(metadata, self._digests).hex()[:12]}"
        for name in security.get("x509_common_name", ()):  # there is none unless it was asked for, and vouched for
            return f"certificate:{_printable(name.decode(errors='replace'))}"
        return address_of(peer)

    @staticmethod
    def _check(metadata: Iterable[tuple[str, str | bytes]], digests: list[bytes]) -> bytes:
        given = next((value for key, value in metadata if key == "authorization"), None)
        if given is None:
            raise _unauthenticated("authentication required: send the metadata 'authorization: Bearer TOKEN'")
        if not isinstance(given, str) or not given.startswith(_SCHEME):
            raise _unauthenticated("the metadata 'authorization' must be 'Bearer TOKEN'")
        digest = _digest(given.removeprefix(_SCHEME).strip())
        # All of them are compared, each in constant time: how long it takes tells nothing of any.
        matches = [hmac.compare_digest(digest, known) for known in digests]
        if not any(matches):
            raise _unauthenticated("unknown token")
        return digest


def address_of(peer: str) -> str:
    """The address of ``ipv4:10.0.0.1:4711`` or ``ipv6:%5B::1%5D:4711``, without its port."""
    kind, _, rest = unquote(peer).partition(":")
    if kind in ("ipv4", "ipv6"):
        return _printable(rest.rpartition(":")[0].strip("[]"))
    return _printable(kind)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _unauthenticated(text: str) -> NotAdmitted:
    return NotAdmitted("authentication", "UNAUTHENTICATED", text)


def _printable(text: str) -> str:
    # It comes from outside and goes into logs by the line.
    return "".join(c if c.isprintable() and c != " " else "?" for c in text[:64]) or "?"
