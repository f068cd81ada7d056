"""TLS: what gRPC needs, from files that are checked before anything listens."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import grpc

from remotemedia.errors import ConfigurationError, Problem
from remotemedia.service.config import ServiceConfig

__all__ = ["server_credentials"]


def server_credentials(config: ServiceConfig) -> grpc.ServerCredentials | None:
    """What the service shows of itself, and asks of clients; None for no TLS.

    Raises:
        ConfigurationError: a file is not there, is not PEM, or the key is not the certificate's; all that is wrong.
    """
    if config.tls_certificate is None or config.tls_key is None:
        return None
    problems: list[Problem] = []
    certificate = _read("tls_certificate", config.tls_certificate, problems)
    key = _read("tls_key", config.tls_key, problems)
    authority = b"" if config.tls_client_ca is None else _read("tls_client_ca", config.tls_client_ca, problems)
    if not problems:
        _check_pair(config.tls_certificate, config.tls_key, problems)
        if config.tls_client_ca is not None:
            _check_authority(config.tls_client_ca, problems)
    if problems:
        raise ConfigurationError(problems)
    return grpc.ssl_server_credentials(
        [(key, certificate)],
        root_certificates=authority or None,
        require_client_auth=config.tls_client_ca is not None,
    )


def _read(name: str, path: str, problems: list[Problem]) -> bytes:
    try:
        if not Path(path).exists() or Path(path).is_file():  # a pipe would make us wait
            return Path(path).read_bytes()
        problems.append(Problem("is not a file", name, path))
    except OSError as error:
        problems.append(Problem(f"cannot be read: {error.strerror}", name, path))
    return b""


def _check_pair(certificate: str, key: str, problems: list[Problem]) -> None:
    # The certificate alone first, as the library does not tell which of the two it could not read.
    if not _loads(lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)):
        problems.append(Problem("holds no certificate in PEM form", "tls_certificate", certificate))
        return
    asked: list[bool] = []

    def password() -> str:
        asked.append(True)  # else OpenSSL would ask at the terminal
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        if asked:
            message = "is encrypted with a password: the service needs a key without"
        elif error.reason == "KEY_VALUES_MISMATCH":
            message = f"is not the key of the certificate in {certificate}"
        else:
            message = "holds no private key in PEM form"
        problems.append(Problem(message, "tls_key", key))


def _check_authority(path: str, problems: list[Problem]) -> None:
    if not _loads(lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)):
        problems.append(Problem("holds no certificate in PEM form", "tls_client_ca", path))


def _loads(load: Callable[[], object]) -> bool:
    try:
        load()
    except ssl.SSLError:
        return False
    return True
