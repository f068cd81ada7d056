"""runtime.toml: what the seeds show is read, and each kind of mistake is refused with its file, line and key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocessing import ConfigurationError, MultiprocessConfig
from remotemedia.settings import resolve_settings

SEED = (Path(__file__).parents[1] / "session" / "data" / "runtime.toml").read_text()

# Name: the file, and the line, the place and the words each problem must have.
WRONG: dict[str, tuple[str | bytes, list[tuple[int | None, str, str]]]] = {
    "a number that is no number": (
        "[multiprocess]\n\nchannel_capacity = 'many'\n",
        [(3, "multiprocess.channel_capacity", 'must be a whole number from 1 to 1048576, not "many"')],
    ),
    "a number that is not whole": (
        "[multiprocess]\nchannel_capacity = 1.5\n",
        [(2, "multiprocess.channel_capacity", "must be a whole number from 1 to 1048576, not 1.5")],
    ),
    "a boolean for a number": (
        "[multiprocess]\nspin_us = true\n",
        [(2, "multiprocess.spin_us", "must be a whole number from 0 to 1000000, not true")],
    ),
    "a number too small": (
        "[multiprocess]\nmax_processes_per_session = 0\n",
        [(2, "multiprocess.max_processes_per_session", "must be a whole number from 1 to 1000000, not 0")],
    ),
    "a number too large": (
        "[multiprocess]\nshm_segment_size = 0x7fff_ffff_ffff_ffff\n",
        [(2, "multiprocess.shm_segment_size", "must be a whole number from 65536 to ")],
    ),
    "a number too large to show": (
        f"[multiprocess]\nshm_segment_size = 0x{'f' * 9000}\n",
        [(2, "multiprocess.shm_segment_size", ", not this int")],
    ),
    "a time of nothing": (
        "[multiprocess]\ninit_timeout_secs = 0\n",
        [(2, "multiprocess.init_timeout_secs", "must be a positive number of seconds, not 0")],
    ),
    "a time without end": (
        "[multiprocess]\ncleanup_grace_period_secs = inf\n",
        [(2, "multiprocess.cleanup_grace_period_secs", "must be a positive number of seconds, not Infinity")],
    ),
    "a time that is a clock's": (
        "[multiprocess]\ninit_timeout_secs = 00:00:30\n",
        [(2, "multiprocess.init_timeout_secs", 'must be a positive number of seconds, not "00:00:30"')],
    ),
    "a text for a boolean": (
        '[multiprocess]\nenable_backpressure = "no"\n',
        [(2, "multiprocess.enable_backpressure", 'must be true or false, not "no"')],
    ),
    "a table for a value": (
        "[multiprocess]\n\n[multiprocess.use_uvloop]\n",
        [(3, "multiprocess.use_uvloop", "must be true or false, not {}")],
    ),
    "an empty path": (
        '[multiprocess.python]\nexecutable = ""\n',
        [(2, "multiprocess.python.executable", 'must be a path or a command name, not ""')],
    ),
    "a path that no file has": (
        '[multiprocess.python]\nvenv_path = "a\\u0000b"\n',
        [(2, "multiprocess.python.venv_path", "must be the path of a folder, not")],
    ),
    "one folder for a list": (
        '[multiprocess.python]\n# where the nodes are\nextra_paths = "./nodes"\n',
        [(3, "multiprocess.python.extra_paths", 'must be a list of folders, not "./nodes"')],
    ),
    "a list of something else, over several lines": (
        '[multiprocess.python]\nvenv_path = ".venv"\n\nextra_paths = [\n  "./nodes",\n  7,\n]\n',
        [(4, "multiprocess.python.extra_paths", 'must be a list of folders, not ["./nodes", 7]')],
    ),
    "a key with a typing mistake": (
        "[multiprocess]\nchanel_capacity = 100\n",
        [
            (
                2,
                "multiprocess.chanel_capacity",
                "there is no key 'chanel_capacity' here; did you mean 'channel_capacity'?",
            )
        ],
    ),
    "a key like no other": (
        '[multiprocess.python]\nversion = "3.12"\n',
        [
            (
                2,
                "multiprocess.python.version",
                "there is no key 'version' here; the keys are: 'executable', 'venv_path', 'extra_paths'",
            )
        ],
    ),
    "a manifest's name for the interpreter": (
        '[multiprocess]\npython_executable = "python"\n',
        [
            (
                2,
                "multiprocess.python_executable",
                "there is no key 'python_executable' here; it is 'executable' in [multiprocess.python]",
            )
        ],
    ),
    "a key in the wrong table": (
        "[multiprocess.python]\nchannel_capacity = 5\n",
        [
            (
                2,
                "multiprocess.python.channel_capacity",
                "there is no key 'channel_capacity' here; it is 'channel_capacity' in [mul",
            )
        ],
    ),
    "a key in no table": (
        "channel_capacity = 5\n",
        [
            (
                1,
                "channel_capacity",
                "there is no key 'channel_capacity' here; it is 'channel_capacity' in [multiprocess]",
            )
        ],
    ),
    "another table": (
        "[multiprocess]\nspin_us = 0\n[audio]\nrate = 16000\n",
        [
            (
                3,
                "audio",
                "there is no table 'audio' here; the tables are: 'multiprocess', 'multiprocess.python', "
                "'multiprocess.nodes', 'service'",
            )
        ],
    ),
    "a table with a typing mistake": (
        "\n[multiproces]\nspin_us = 0\n",
        [
            (
                2,
                "multiproces",
                "there is no table 'multiproces' here; did you mean 'multiprocess' or 'multiprocess.nodes' or",
            )
        ],
    ),
    "node types that are wrong": (
        "[multiprocess.nodes.A]\nvenv_path = 5\n[multiprocess.nodes.B]\nenv = { X = 1 }\n[multiprocess.nodes]\nC = 3\n"
        "D.python = 'python3'\nE = { executable = 'a', venv_path = 'b' }\nF = {}\n",
        [
            (2, "multiprocess.nodes.A.venv_path", "must be the path of a folder, not 5"),
            (4, "multiprocess.nodes.B.env", "must be environment variables as strings by name"),
            (6, "multiprocess.nodes.C", "must be a table with one of executable, venv_path, requirements, or env"),
            (
                7,
                "multiprocess.nodes.D.python",
                "there is no key 'python' here; the keys are: 'executable', 'venv_path'",
            ),
            (7, "multiprocess.nodes.D", "must have one of executable, venv_path, requirements"),
            (8, "multiprocess.nodes.E.venv_path", "must not stand beside executable: one of them is enough"),
            (9, "multiprocess.nodes.F", "must have one of executable, venv_path, requirements"),
        ],
    ),
    "an inner table with a typing mistake": (
        "[multiprocess]\n[multiprocess.pyhton]\nexecutable = 'python'\n",
        [(2, "multiprocess.pyhton", "there is no key 'pyhton' here; did you mean 'python'?")],
    ),
    "a wrong value for the service": (
        "[service]\nmax_sessions = 0\nport = '50051'\n",
        [
            (2, "service.max_sessions", "must be a whole number from 1 to 1000000, not 0"),
            (3, "service.port", 'must be a whole number from 0 to 65535, not "50051"'),
        ],
    ),
    "a key of the service with a typing mistake": (
        "[service]\nmax_session = 5\n",
        [(2, "service.max_session", "there is no key 'max_session' here; did you mean 'max_sessions'")],
    ),
    "a key of the service in the wrong table": (
        "[multiprocess]\nmax_sessions = 5\n",
        [(2, "multiprocess.max_sessions", "there is no key 'max_sessions' here; it is 'max_sessions' in [service]")],
    ),
    "tokens in the open": (
        "[service]\ntokens = ['secret']\n",
        [(2, "service.tokens", "tokens do not belong here: write them into a file of their own")],
    ),
    "a value for the service": ("service = 5\n", [(1, "service", "must be a table, [service], not 5")]),
    "a value for the table": ("multiprocess = 5\n", [(1, "multiprocess", "must be a table, [multiprocess], not 5")]),
    "a list for the table": (
        "\n[[multiprocess]]\nspin_us = 5\n",
        [(2, "multiprocess", 'must be a table, [multiprocess], not [{"spin_us": 5}]')],
    ),
    "a value for the inner table": (
        '[multiprocess]\npython = "python3"\n',
        [(2, "multiprocess.python", 'must be a table, [multiprocess.python], not "python3"')],
    ),
    "no TOML: a word without quotes": (
        "[multiprocess]\nenable_backpressure = yes\n",
        [(2, "", ", in: enable_backpressure = yes")],
    ),
    "no TOML: a key without a value": (
        "[multiprocess]\n\nspin_us\n",
        [(3, "", ", in: spin_us")],
    ),
    "no TOML: a key twice": (
        "[multiprocess]\nspin_us = 1\nspin_us = 2\n",
        [(3, "", ", in: spin_us = 2")],
    ),
    "no TOML: a table twice": (
        "[multiprocess]\nspin_us = 1\n[multiprocess]\n",
        [(3, "", ", in: [multiprocess]")],
    ),
    "no TOML: it ends too soon": (
        "[multiprocess.python]\nextra_paths = [\n  './nodes',\n\n",
        [(3, "", ", in: './nodes',")],
    ),
    "no TOML: JSON": ('{"multiprocess": {}}', [(1, "", "is not TOML: ")]),
    "nested without end": (f"a = {'[' * 5000}", [(None, "", "is nested too deeply")]),
    "Latin-1": (
        b"[multiprocess.python]\nvenv_path = 'caf\xe9'\n",
        [(2, "", "is not UTF-8: there is a byte 0xe9")],
    ),
    "far too long": (b"#" * 70_000, [(None, "", "has more than 65536 bytes: that is not a file of settings")]),
    "several mistakes": (
        "x = 1\n[multiprocess]\nspin_us = -1 # microseconds\n\n# folders\nchannel_capacity = 100\npython.path = 3\n",
        [
            (1, "x", "there is no table 'x' here"),
            (3, "multiprocess.spin_us", "must be a whole number from 0 to 1000000, not -1"),
            (7, "multiprocess.python.path", "there is no key 'path' here"),
        ],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake(tmp_path: Path, name: str) -> None:
    content, expected = WRONG[name]
    file = tmp_path / "runtime.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError) as raised:
        resolve_settings(config_path=file)
    problems = raised.value.problems
    assert [(found.line, found.place) for found in problems] == [(line, place) for line, place, _ in expected]
    assert all(words in found.message for found, (_, _, words) in zip(problems, expected, strict=True)), problems
    assert {found.file for found in problems} == {str(file)}
    assert str(raised.value) == "\n".join(map(str, problems))
    assert all(len(str(found)) < 600 for found in problems)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_with_either_end(tmp_path: Path, end: str) -> None:
    file = tmp_path / "runtime.toml"
    file.write_bytes(b"\xef\xbb\xbf" + SEED.replace("\n", end).encode())
    origins = resolve_settings(config_path=file).origins
    assert {name: origin for name, origin in origins.items() if origin != "default"} == {
        "max_processes_per_session": f"{file} line 3",
        "channel_capacity": f"{file} line 4",
        "init_timeout_secs": f"{file} line 5",
        "cleanup_grace_period_secs": f"{file} line 6",
        "enable_backpressure": f"{file} line 7",
        "shm_segment_size": f"{file} line 8",
        "python_executable": f"{file} line 11",
        "venv_path": f"{file} line 12",
        "extra_paths": f"{file} line 13",
    }


def test_the_seeds_file(tmp_path: Path) -> None:
    file = tmp_path / "runtime.toml"
    file.write_text(SEED)
    assert resolve_settings(config_path=file).config == MultiprocessConfig(
        max_processes_per_session=10,
        init_timeout_secs=30,
        cleanup_grace_period_secs=5,
        python_executable="python",
        venv_path=str(tmp_path / ".venv"),
        extra_paths=(str(tmp_path / "nodes"),),
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("python3.12", "python3.12"),
        ("bin/python", "{folder}/bin/python"),
        ("../bin/python", "{above}/bin/python"),
        ("/usr/bin/python3", "/usr/bin/python3"),
        ("~/bin/python", "{home}/bin/python"),
    ],
)
def test_paths_are_relative_to_their_file(tmp_path: Path, monkeypatch: Any, written: str, meant: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "service"
    folder.mkdir()
    file = folder / "runtime.toml"
    file.write_text(f'[multiprocess.python]\nexecutable = "{written}"\nextra_paths = ["~/nodes", "nodes"]\n')
    monkeypatch.chdir(tmp_path)
    config = resolve_settings(config_path=Path("service/runtime.toml")).config
    assert config.python_executable == meant.format(folder=folder, above=tmp_path, home=tmp_path / "home")
    assert config.extra_paths == (f"{tmp_path}/home/nodes", f"{folder}/nodes")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.toml", "there is no such file"),
        ("missing/runtime.toml", "there is no such file"),
        (".", "is not a file"),
        ("pipe", "is not a file"),
        ("/dev/zero", "is not a file"),
        ("file/runtime.toml", "cannot be read: Not a directory"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: Any, name: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("file").touch()
    with pytest.raises(ConfigurationError) as raised:
        resolve_settings(config_path=Path(name))
    (problem,) = raised.value.problems
    assert (problem.file, problem.message) == (name, words)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "runtime.toml"
    file.touch(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ConfigurationError, match="cannot be read: Permission denied"):
        resolve_settings(config_path=file)
