"""ServiceConfig: each wrong value is refused by name, what belongs together is, and secrets are not shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from remotemedia.service.config import ServiceConfig

WRONG: list[tuple[str, Any, type[Exception], str]] = [
    ("host", "", TypeError, "an address or a host name, not ''"),
    ("host", "local host", ValueError, "an address or a host name, not 'local host'"),
    ("host", "127.0.0.1:50051/x", ValueError, "an address or a host name"),
    ("port", "50051", TypeError, "a whole number from 0 to 65535, not '50051'"),
    ("port", 65536, ValueError, "a whole number from 0 to 65535, not 65536"),
    ("port", True, TypeError, "a whole number from 0 to 65535, not True"),
    ("max_message_bytes", 10 << 20, ValueError, "a whole number from 16777216 to 2147483647, not 10485760"),
    ("max_sessions", 0, ValueError, "a whole number from 1 to 1000000 or None, not 0"),
    ("max_sessions_per_client", -1, ValueError, "a whole number from 1 to 1000000 or None, not -1"),
    ("max_processes", 1.5, TypeError, "a whole number from 1 to 1000000 or None, not 1.5"),
    ("max_starts_per_sec", 0, ValueError, "a positive number or None, not 0"),
    ("max_starts_per_sec", float("nan"), ValueError, "a positive number or None, not nan"),
    ("max_node_memory_bytes", 1000, ValueError, "a whole number from 1048576 to"),
    ("max_execution_secs", float("inf"), ValueError, "a positive number of seconds or None, not inf"),
    ("tokens", "secret", TypeError, "a list of tokens of visible ASCII characters"),
    ("tokens", ["secret", b"other"], TypeError, "a list of tokens of visible ASCII characters"),
    ("tokens", ["secret token"], ValueError, "a list of tokens of visible ASCII characters"),
    ("tokens", ["secret\n"], ValueError, "a list of tokens of visible ASCII characters"),
    ("tokens", [""], ValueError, "a list of tokens of visible ASCII characters"),
    ("require_auth", 1, TypeError, "true or false or None, not 1"),
    ("tls_certificate", 5, TypeError, "the path of a file or None, not 5"),
    ("tls_key", "", TypeError, "the path of a file or None, not ''"),
    ("tls_client_ca", "a\0b", TypeError, "the path of a file or None"),
    ("drain_secs", -1, ValueError, "a number of seconds, 0 or more, not -1"),
    ("drain_secs", "30", TypeError, "a number of seconds, 0 or more, not '30'"),
    ("allowed_pythons", "python3", TypeError, "a list of paths, not 'python3'"),
    ("allowed_env", ["A", 5], TypeError, r"a list of names of variables, not \['A', 5\]"),
    ("allow_requirements", 1, TypeError, "true or false, not 1"),
    ("allowed_venvs", [5], TypeError, r"a list of paths, not \[5\]"),
    ("allowed_extra_paths", None, TypeError, "a list of paths, not None"),
    ("refused_node_types", "EchoNode", TypeError, "a list of node types, not 'EchoNode'"),
    ("status_results", "no", TypeError, "true or false, not 'no'"),
    ("metrics_port", 70000, ValueError, "a whole number from 0 to 65535 or None, not 70000"),
    ("metrics_host", "a b", ValueError, "an address or a host name"),
    ("metrics_session_ids", "yes", TypeError, "true or false, not 'yes'"),
    ("access_log", None, TypeError, "true or false, not None"),
    ("json_log", 1, TypeError, "true or false, not 1"),
    ("reflection", 0, TypeError, "true or false, not 0"),
]


@pytest.mark.parametrize(("name", "value", "kind", "says"), WRONG)
def test_a_wrong_value(name: str, value: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=f"^{name} must be {says}") as raised:
        ServiceConfig(**{name: value})
    assert "secret" not in str(raised.value)


def test_each_field_has_its_rule_and_a_wrong_value() -> None:
    names = [field.name for field in dataclasses.fields(ServiceConfig)]
    assert list(ServiceConfig.RULES) == names
    assert {name for name, *_ in WRONG} == set(names)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"tls_certificate": "a.pem"}, "tls_certificate and tls_key belong together"),
        ({"tls_key": "a.pem"}, "tls_certificate and tls_key belong together"),
        ({"tls_client_ca": "ca.pem"}, "tls_client_ca needs tls_certificate and tls_key"),
        ({"require_auth": True}, "require_auth needs tokens"),
    ],
)
def test_what_belongs_together(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ServiceConfig(**values)


@pytest.mark.parametrize(
    ("values", "checked"),
    [
        ({}, False),
        ({"require_auth": False}, False),
        ({"tokens": ("a",)}, True),
        ({"tokens": ("a",), "require_auth": True}, True),
        ({"tokens": ("a",), "require_auth": False}, False),
    ],
)
def test_whether_tokens_are_checked(values: dict[str, Any], checked: bool) -> None:
    assert ServiceConfig(**values).checks_tokens is checked


TLS = {"tls_certificate": "a.pem", "tls_key": "b.pem"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, ""),
        ({"host": "localhost"}, ""),
        ({"host": "127.0.0.2"}, ""),
        ({"host": "::1"}, ""),
        ({"host": "0.0.0.0"}, "anyone reaching 0.0.0.0 may run pipelines"),
        ({"host": "::"}, "anyone reaching :: may run pipelines"),
        ({"host": "media.example", **TLS}, "anyone reaching media.example may run pipelines"),
        ({"host": "0.0.0.0", "tokens": ["a"], "require_auth": False}, "anyone reaching"),
        ({"host": "0.0.0.0", "tokens": ["a"]}, "unencrypted"),
        ({"host": "0.0.0.0", "tokens": ["a"], **TLS}, ""),
        ({"host": "0.0.0.0", "tls_client_ca": "ca.pem", **TLS}, ""),
    ],
)
def test_exposure(values: dict[str, Any], says: str) -> None:
    exposure = ServiceConfig(**values).exposure
    assert says in exposure
    assert bool(exposure) == bool(says)


def test_values_are_kept_as_tuples_and_texts_and_tokens_are_not_shown() -> None:
    config = ServiceConfig(tokens=["secret"], allowed_venvs=[Path("/v")], tls_certificate=Path("a"), tls_key="b")
    assert (config.tokens, config.allowed_venvs, config.tls_certificate) == (("secret",), ("/v",), "a")
    assert "secret" not in repr(config)
