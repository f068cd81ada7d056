"""The service's settings: who has its say before whom, and every mistake at its place, without a token in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from remotemedia.errors import ConfigurationError
from remotemedia.service.config import ServiceConfig
from remotemedia.settings import resolve_service_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resolve(environment: dict[str, str] | None = None, **overrides: object) -> Any:
    return resolve_service_settings(environment=environment or {}, overrides=overrides)


def test_nothing_at_all(folder: Path) -> None:
    settings = resolve()
    assert settings.config == ServiceConfig()
    assert (set(settings.origins.values()), settings.file) == ({"default"}, None)
    assert list(settings.origins) == list(ServiceConfig.RULES)


def test_who_has_its_say_first(folder: Path) -> None:
    (folder / "runtime.toml").write_text("[service]\nport = 1\nhost = 'file'\njson_log = false\nmax_sessions = 7\n")
    settings = resolve({"GRPC_BIND_ADDRESS": "variable:2", "GRPC_JSON_LOGGING": "true"}, port=3)
    config = settings.config
    assert (config.port, config.host, config.json_log, config.max_sessions) == (3, "variable", True, 7)
    assert {name: origin for name, origin in settings.origins.items() if origin != "default"} == {
        "port": "command line",
        "host": "GRPC_BIND_ADDRESS",
        "json_log": "GRPC_JSON_LOGGING",
        "max_sessions": "runtime.toml line 5",
    }
    assert settings.file == Path("runtime.toml")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("GRPC_BIND_ADDRESS", "0.0.0.0:50051", {"host": "0.0.0.0", "port": 50051}),
        ("GRPC_BIND_ADDRESS", "[::1]:0", {"host": "::1", "port": 0}),
        ("GRPC_BIND_ADDRESS", "media.example:443", {"host": "media.example", "port": 443}),
        ("GRPC_AUTH_TOKENS", "one, two,", {"tokens": ("one", "two"), "checks_tokens": True}),
        ("GRPC_REQUIRE_AUTH", "False", {"require_auth": False}),
        ("GRPC_REQUIRE_AUTH", "0", {"require_auth": False}),
        ("GRPC_MAX_MEMORY_MB", "100", {"max_node_memory_bytes": 100 << 20}),
        ("GRPC_MAX_TIMEOUT_SEC", "2.5", {"max_execution_secs": 2.5}),
        ("GRPC_JSON_LOGGING", "1", {"json_log": True}),
    ],
)
def test_a_variable(folder: Path, variable: str, text: str, expected: dict[str, Any]) -> None:
    settings = resolve({variable: text})
    assert {name: getattr(settings.config, name) for name in expected} == expected
    assert {settings.origins[name] for name in expected if name in settings.origins} == {variable}


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("GRPC_BIND_ADDRESS", "50051", "must be ADDRESS:PORT, not '50051'"),
        ("GRPC_BIND_ADDRESS", "::1:50051", "must be ADDRESS:PORT"),
        ("GRPC_BIND_ADDRESS", "localhost:70000", "must be ADDRESS:PORT"),
        ("GRPC_BIND_ADDRESS", "", "must be ADDRESS:PORT, not ''"),
        ("GRPC_AUTH_TOKENS", "", "must be tokens of visible ASCII characters, with commas between them"),
        ("GRPC_AUTH_TOKENS", " , ", "must be tokens of visible ASCII characters, with commas between them"),
        ("GRPC_AUTH_TOKENS", "secret one,two", "must be tokens of visible ASCII characters, with commas between them"),
        ("GRPC_REQUIRE_AUTH", "yes", "must be true or false (or 1 or 0), not 'yes'"),
        ("GRPC_MAX_MEMORY_MB", "0", "must be a whole number of MiB, at least 1, not '0'"),
        ("GRPC_MAX_MEMORY_MB", "1.5", "must be a whole number of MiB, at least 1, not '1.5'"),
        ("GRPC_MAX_TIMEOUT_SEC", "-1", "must be a positive number of seconds, not '-1'"),
        ("GRPC_MAX_TIMEOUT_SEC", "nan", "must be a positive number of seconds, not 'nan'"),
        ("GRPC_JSON_LOGGING", "", "must be true or false (or 1 or 0), not ''"),
    ],
)
def test_a_wrong_variable(folder: Path, variable: str, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        resolve({variable: text})
    (problem,) = raised.value.problems
    assert problem.place == variable
    assert problem.message.startswith(says)
    assert "secret" not in str(raised.value)


def test_a_file_of_tokens(folder: Path) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "tokens").write_text("# for the app\n secret-1 \n\nsecret-2\n")
    (folder / "conf" / "service.toml").write_text("[service]\ntoken_file = 'tokens'\n")
    (folder / "other").write_text("secret-3")
    path = Path("conf/service.toml")
    settings = resolve_service_settings(config_path=path, environment={})
    assert settings.config.tokens == ("secret-1", "secret-2")
    assert settings.origins["tokens"] == "conf/service.toml line 2"
    # A source replaces those after it, it does not add to them.
    variable = {"GRPC_AUTH_TOKENS": "secret-4"}
    assert resolve_service_settings(config_path=path, environment=variable).config.tokens == ("secret-4",)
    overrides = {"token_file": "other"}
    settings = resolve_service_settings(config_path=path, environment=variable, overrides=overrides)
    assert (settings.config.tokens, settings.origins["tokens"]) == (("secret-3",), "command line")


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (None, None, "the file of tokens cannot be read: No such file or directory"),
        ("", None, "has no token in it"),
        ("# none\n\n", None, "has no token in it"),
        ("good\nsecret token\n", 2, "a token is visible ASCII characters without spaces"),
        ("secret\u00e9\n", 1, "a token is visible ASCII characters without spaces"),
        ("x" * (1 << 20) + "secret", None, "has more than 1048576 bytes: that is not a file of tokens"),
    ],
)
def test_a_wrong_file_of_tokens(folder: Path, content: str | None, line: int | None, says: str) -> None:
    if content is not None:
        (folder / "tokens").write_text(content)
    with pytest.raises(ConfigurationError) as raised:
        resolve(token_file="tokens")
    (problem,) = raised.value.problems
    assert (problem.file, problem.line, problem.message) == (str(folder / "tokens"), line, says)
    assert "secret" not in str(raised.value)


def test_paths_are_relative_to_their_place(folder: Path) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "service.toml").write_text(
        "[service]\ntls_certificate = 'a.pem'\nallowed_venvs = ['v']\nallowed_pythons = ['python3', 'v/bin/python']\n"
    )
    config = resolve_service_settings(
        config_path=Path("conf/service.toml"), environment={}, overrides={"tls_key": "b.pem"}
    ).config
    assert (config.tls_certificate, config.tls_key) == (str(folder / "conf/a.pem"), str(folder / "b.pem"))
    assert config.allowed_venvs == (str(folder / "conf/v"),)
    assert config.allowed_pythons == ("python3", str(folder / "conf/v/bin/python"))


def test_all_mistakes_at_once(folder: Path) -> None:
    (folder / "runtime.toml").write_text("[service]\nport = -1\n[multiprocess]\nspin_us = -1\n")
    with pytest.raises(ConfigurationError) as raised:
        resolve({"GRPC_REQUIRE_AUTH": "maybe"}, max_session=5, drain_secs=-1.0, tokens=("secret",))
    assert "secret" not in str(raised.value)
    places = [(problem.place, problem.line) for problem in raised.value.problems]
    assert places == [
        ("service.port", 2),
        ("multiprocess.spin_us", 4),
        ("max_session", None),
        ("drain_secs", None),
        ("tokens", None),
        ("GRPC_REQUIRE_AUTH", None),
    ]


def test_what_does_not_go_together(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^require_auth needs tokens"):
        resolve({"GRPC_REQUIRE_AUTH": "true"})
