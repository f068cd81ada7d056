"""``remotemedia serve`` that cannot serve: one line that says how to put it right, and exit code 2."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from remotemedia._libraries import NEEDED

pytest.importorskip("grpc")

pytestmark = pytest.mark.usefixtures("leak_check")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "x"], "Invalid value for '--port': 'x' is not a valid integer. (see remotemedia serve --help)"),
        (["--port", "70000"], "port: must be a whole number from 0 to 65535, not 70000"),
        (["--max-sessions", "0"], "max_sessions: must be a whole number from 1 to 1000000, not 0"),
        (["--drain-secs", "-1"], "drain_secs: must be a number of seconds, 0 or more, not -1.0"),
        (["--host", ""], 'host: must be an address or a host name, not ""'),
        (["--host", "192.0.2.1"], "cannot listen at 192.0.2.1:0: Cannot assign requested address"),
        (["--token-file", "none"], "{}/none: the file of tokens cannot be read: No such file or directory"),
        (["--tls-key", "none"], "tls_certificate and tls_key belong together: name both or neither"),
        (
            ["--tls-key", "k", "--tls-certificate", "c"],
            "{}/c: tls_certificate: cannot be read: No such file or directory",
        ),
        (["--set", "max_sessions"], "--set max_sessions: write KEY=VALUE"),
        (
            ["--set", "max_session=5"],
            "max_session: there is no key 'max_session' here; did you mean 'max_sessions'",
        ),
        (["--set", "tokens=['secret']"], "tokens: there is no key 'tokens' here; did you mean 'token_file'?"),
        (["--nodes", "none.py"], "{}/none.py: there is no such file"),
        (["--config", "none.toml"], "none.toml: there is no such file"),
        (["--config", "wrong.toml"], "wrong.toml:2: service.port: must be a whole number from 0 to 65535, not -1"),
        (["--what"], "No such option"),
    ],
)
def test_what_is_to_be_put_right(start: Any, tmp_path: Path, options: list[str], says: str) -> None:
    (tmp_path / "wrong.toml").write_text("[service]\nport = -1\n")
    code, out, err = start(*options).end()
    assert (code, out) == (2, "")
    assert err.splitlines()[0].startswith("remotemedia: " + says.replace("{}", str(tmp_path)))
    assert "Traceback" not in err and "secret" not in err


def test_a_port_in_use(start: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for option in ("--port", "--metrics-port"):
            code, out, err = start(option, str(port)).end()
            assert (code, out) == (2, "")
            (line,) = err.splitlines()
            assert line.startswith("remotemedia: cannot ") and line.endswith("Address already in use")
            assert str(port) in line


def test_two_services_do_not_share_a_port(start: Any) -> None:
    first = start("--json")
    port = json.loads(first.wait_said("address"))["port"]
    code, _, err = start("--port", str(port)).end()
    assert (code, err) == (2, f"remotemedia: cannot listen at 127.0.0.1:{port}: Address already in use")


@pytest.mark.parametrize(
    ("module", "options", "says"),
    [
        ("grpc", [], "serve needs grpc, which is not installed: /"),
        ("grpc_health", [], "serve needs grpc_health, which is not installed: /"),
        (
            "prometheus_client",
            ["--metrics-port", "0"],
            "metrics_port: serve_metrics needs prometheus_client, which is not",
        ),
        ("pythonjsonlogger", ["--json-log"], "json_log: json_log_formatter needs pythonjsonlogger, which is not"),
    ],
)
def test_an_extra_that_is_missing(tmp_path: Path, module: str, options: list[str], says: str) -> None:
    script = (
        f"import sys; sys.modules[{module!r}] = None; from remotemedia.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "serve", "--port", "0", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"remotemedia: {says}")
    assert re.search(r" -m pip install '/.*\[(grpc|monitoring)\]'$", line)


UNFIT = {
    # What an old one says when it is loaded, or lacks; the distributions are made here, and hold no more than this.
    "protobuf": ("4.25.3", "google/protobuf/__init__.py", "__version__ = '4.25.3'"),
    "grpcio": ("1.60.0", "grpc/__init__.py", "__version__ = '1.60.0'"),
    "grpcio-health-checking": ("1.60.0", "grpc_health/__init__.py", "raise RuntimeError('of another version')"),
    "grpcio-reflection": ("2.0.0", "grpc_reflection/__init__.py", "raise TypeError('of another version')"),
}


@pytest.fixture
def unfit(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, str, dict[str, str]]:
    """A library of an unfit version before the one that is installed: its name, version and the environment for it."""
    name = request.param
    version, file, source = UNFIT[name]
    information = tmp_path / "there" / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (tmp_path / "there" / file).parent.mkdir(parents=True)
    (tmp_path / "there" / file).write_text(source)
    return name, version, {**os.environ, "PYTHONPATH": str(tmp_path / "there")}


@pytest.mark.parametrize("unfit", UNFIT, indirect=True)
def test_a_library_of_an_unfit_version(tmp_path: Path, unfit: tuple[str, str, dict[str, str]]) -> None:
    name, version, environment = unfit
    command = [sys.executable, "-m", "remotemedia", "serve", "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    wanted = "{}>={},<{}".format(name, *NEEDED[name])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"remotemedia: serve cannot use its libraries: {name} {version} is installed, but {wanted} is needed: "
        f"python -m pip install '{wanted}'\n"
    )


@pytest.mark.parametrize("unfit", ["protobuf"], indirect=True)
def test_a_client_with_a_library_of_an_unfit_version(unfit: tuple[str, str, dict[str, str]]) -> None:
    command = [sys.executable, "-c", "import remotemedia.client"]
    done = subprocess.run(command, env=unfit[2], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: remotemedia.client cannot use its libraries: protobuf 4.25.3 is installed, but "
        "protobuf>=5.29.1,<8 is needed: python -m pip install 'protobuf>=5.29.1,<8'"
    )


def test_a_library_that_cannot_be_loaded(tmp_path: Path) -> None:
    """Of the right version, but not for this machine."""
    (tmp_path / "grpc").mkdir()
    (tmp_path / "grpc" / "__init__.py").write_text("raise ImportError('libc is too old', name='grpc._cython.cygrpc')")
    command = [sys.executable, "-m", "remotemedia", "serve", "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "remotemedia: serve cannot load grpc: libc is too old\n")


def test_the_versions_are_those_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extra = sorted("{}>={},<{}".format(name, *versions) for name, versions in NEEDED.items())
    assert extra == sorted(project["optional-dependencies"]["grpc"])
