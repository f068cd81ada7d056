"""ServiceConfig: the settings of the gRPC service."""

# May import: errors, wire.sizes, _rules

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from remotemedia._rules import (
    FLAG,
    MEMORY_LIMIT,
    SECS,
    TOKEN,
    Rule,
    check,
    is_list_of_paths,
    is_text,
    number,
    positive_number,
    whole_number,
)
from remotemedia.wire.sizes import MESSAGE_BYTES, PAYLOAD_BYTES

__all__ = ["ServiceConfig"]

_PATHS = ("tls_certificate", "tls_key", "tls_client_ca")
_LISTS = ("tokens", "allowed_pythons", "allowed_venvs", "allowed_extra_paths", "allowed_env", "refused_node_types")

_COUNT = whole_number(1, 1_000_000, optional=True)
_HOST = Rule("an address or a host name", is_text, lambda value: re.fullmatch(r"[\w.:%-]+", value) is not None)
_FILE = Rule("the path of a file", lambda value: is_text(value) or isinstance(value, os.PathLike), optional=True)
_PATHS_OF_CLIENTS = Rule("a list of paths", is_list_of_paths)


def _is_list_of_tokens(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(token, str) for token in value)


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(is_text, value))


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """Settings of the service; a wrong value raises TypeError or ValueError that names the field and what it may be.

    Attributes:
        host: address or name it listens at.
        port: port it listens at; 0 = the kernel chooses.
        max_message_bytes: the largest message taken or sent.
        max_sessions: most calls of pipelines at one time, a session each; None = no limit.
        max_sessions_per_client: most of them for one client; None = no limit.
        max_processes: most node processes of all sessions together; None = no limit.
        max_starts_per_sec: most calls of pipelines that begin per second, over all clients; None = no limit.
        max_node_memory_bytes: most private memory that any node's process may have, whatever the client's manifest
            says; None = no limit but its own.
        max_execution_secs: how long ExecutePipeline may take once all nodes are ready; None = no limit.
        tokens: what clients may authenticate with.
        require_auth: whether clients must authenticate with a token; None = when there are tokens.
        tls_certificate: PEM file of the service's certificate chain; None = no TLS.
        tls_key: PEM file of its private key.
        tls_client_ca: PEM file of the CA that signs client certificates (mutual TLS); None = clients need no
            certificate.
        drain_secs: how long running calls may go on when the service stops; 0 = not at all.
        allowed_pythons: what a client's manifest may name as ``python_executable``, beside ``python`` and ``python3``,
            which are the service's own, and as a node's ``python.executable``.
        allowed_venvs: what a client's manifest may name as ``venv_path``, also a node's.
        allowed_extra_paths: what a client's manifest may name in ``extra_paths``.
        allowed_env: environment variables that a client's manifest may set for a node.
        allow_requirements: whether a client's manifest may name ``requirements`` that environments are made of: they
            install and run code.
        refused_node_types: node types that no client's manifest may name, or ``TYPE.PARAM``: a param that none may give
            to that type; unless given, those that read or write files of the service's machine, use its sound card, or
            connect to others.
        status_results: whether progress of loading nodes is also sent as results of a node ``_status``.
        metrics_port: port of the Prometheus page; 0 = the kernel chooses, None = no page.
        metrics_host: address the Prometheus page listens at.
        metrics_session_ids: whether each session has gauges of its own on that page, with its id as a label.
        access_log: whether each call is logged at its end.
        json_log: whether ``remotemedia serve`` writes its log as JSON, an object per line.
        reflection: whether the service describes itself to clients such as grpcurl.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    max_message_bytes: int = MESSAGE_BYTES
    max_sessions: int | None = 100
    max_sessions_per_client: int | None = None
    max_processes: int | None = None
    max_starts_per_sec: float | None = None
    max_node_memory_bytes: int | None = None
    max_execution_secs: float | None = None
    tokens: tuple[str, ...] = field(default=(), repr=False)
    require_auth: bool | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    drain_secs: float = 30.0
    allowed_pythons: tuple[str, ...] = ()
    allowed_venvs: tuple[str, ...] = ()
    allowed_extra_paths: tuple[str, ...] = ()
    allowed_env: tuple[str, ...] = ()
    allow_requirements: bool = False
    refused_node_types: tuple[str, ...] = (
        "AudioFileReaderNode",
        "AudioFileWriterNode",
        "AudioOutputNode.device",
        "AudioOutputNode.path",
        "ChatNode",
        "RemotePipelineNode",
    )
    status_results: bool = False
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    metrics_session_ids: bool = False
    access_log: bool = True
    json_log: bool = False
    reflection: bool = True

    RULES: ClassVar[Mapping[str, Rule]] = MappingProxyType(
        {
            "host": _HOST,
            "port": whole_number(0, 65535),
            "max_message_bytes": whole_number(PAYLOAD_BYTES, (1 << 31) - 1),
            "max_sessions": _COUNT,
            "max_sessions_per_client": _COUNT,
            "max_processes": _COUNT,
            "max_starts_per_sec": positive_number("a positive number", optional=True),
            "max_node_memory_bytes": MEMORY_LIMIT,
            "max_execution_secs": SECS.or_none(),
            "tokens": Rule(
                f"a list of tokens of {TOKEN.says}",
                _is_list_of_tokens,
                lambda value: not any(map(TOKEN.refusal, value)),
            ),
            "require_auth": FLAG.or_none(),
            "tls_certificate": _FILE,
            "tls_key": _FILE,
            "tls_client_ca": _FILE,
            "drain_secs": number(0, says="a number of seconds, 0 or more"),
            "allowed_pythons": _PATHS_OF_CLIENTS,
            "allowed_venvs": _PATHS_OF_CLIENTS,
            "allowed_extra_paths": _PATHS_OF_CLIENTS,
            "allowed_env": Rule("a list of names of variables", _is_list_of_names),
            "allow_requirements": FLAG,
            "refused_node_types": Rule("a list of node types", _is_list_of_names),
            "status_results": FLAG,
            "metrics_port": whole_number(0, 65535, optional=True),
            "metrics_host": _HOST,
            "metrics_session_ids": FLAG,
            "access_log": FLAG,
            "json_log": FLAG,
            "reflection": FLAG,
        }
    )
    """What each field may be; settings from files follow the same rules."""

    def __post_init__(self) -> None:
        check(self, self.RULES)
        for name in _LISTS:
            object.__setattr__(self, name, tuple(str(entry) for entry in getattr(self, name)))
        for name in _PATHS:
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, str(path))
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: name both or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        if self.require_auth and not self.tokens:
            raise ValueError("require_auth needs tokens: without any, no client could authenticate")

    @property
    def checks_tokens(self) -> bool:
        """Whether clients must authenticate with a token."""
        return bool(self.tokens) if self.require_auth is None else self.require_auth

    @property
    def exposure(self) -> str:
        """The risk of where and how it listens, in one line; "" when there is none."""
        if _is_loopback(self.host):
            return ""
        if not self.checks_tokens and self.tls_client_ca is None:
            return (
                f"anyone reaching {self.host} may run pipelines: neither a token nor a client certificate is asked for"
            )
        if self.tls_certificate is None:
            return f"tokens and data reach {self.host} unencrypted: there is no TLS"
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
