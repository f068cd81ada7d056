"""Command line > manifest > runtime.toml > defaults, one setting at a time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocessing import ConfigurationError, MultiprocessConfig
from remotemedia.settings import find_setting_problems, resolve_settings


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_four_sources(folder: Path) -> None:
    write(folder / "runtime.toml", "[multiprocess]\nspin_us = 1\nchannel_capacity = 1\ninit_timeout_secs = 1\n")
    settings = resolve_settings(
        manifest_settings={"channel_capacity": 2, "init_timeout_secs": 2}, overrides={"init_timeout_secs": 3}
    )
    assert settings.config == MultiprocessConfig(spin_us=1, channel_capacity=2, init_timeout_secs=3)
    assert settings.file == Path("runtime.toml")
    assert {name: origin for name, origin in settings.origins.items() if origin != "default"} == {
        "spin_us": "runtime.toml line 2",
        "channel_capacity": "manifest",
        "init_timeout_secs": "command line",
    }
    assert list(settings.origins) == list(vars(settings.config))


def test_nothing_is_the_defaults() -> None:
    settings = resolve_settings()
    assert (settings.config, settings.file) == (MultiprocessConfig(), None)
    assert set(settings.origins.values()) == {"default"}


def test_the_first_file_there_is(folder: Path) -> None:
    def spin(**paths: Path) -> int:
        return resolve_settings(**paths).config.spin_us

    manifest = folder / "pipelines" / "speech.yaml"
    write(folder / "runtime.toml", "[multiprocess]\nspin_us = 1\n")
    given = write(folder / "other" / "service.toml", "[multiprocess]\nspin_us = 3\n")
    assert spin(manifest_path=manifest) == 1
    write(manifest.with_name("runtime.toml"), "[multiprocess]\nspin_us = 2\n")
    assert spin() == 1
    assert spin(manifest_path=manifest) == 2
    assert spin(manifest_path=manifest, config_path=given) == 3
    with pytest.raises(ConfigurationError, match=r"no\.toml: there is no such file"):
        spin(config_path=Path("no.toml"))


def test_null_takes_a_limit_away(folder: Path) -> None:
    write(folder / "runtime.toml", "[multiprocess]\nmax_processes_per_session = 3\n")
    assert resolve_settings().config.max_processes_per_session == 3
    settings = resolve_settings(manifest_settings={"max_processes_per_session": None})
    assert settings.config.max_processes_per_session is None
    assert settings.origins["max_processes_per_session"] == "manifest"


def test_whoever_chooses_the_interpreter_is_not_overruled_by_a_lower_source(folder: Path) -> None:
    write(folder / "runtime.toml", "[multiprocess.python]\nexecutable = 'python3'\nvenv_path = '.venv'\n")
    config = resolve_settings(manifest_settings={"channel_capacity": 1}).config
    assert (config.python_executable, config.venv_path) == (sys.executable, str(folder / ".venv"))
    settings = resolve_settings(manifest_settings={"python_executable": "python3.12"})
    assert (settings.config.python_executable, settings.config.venv_path) == ("python3.12", None)
    assert (settings.origins["python_executable"], settings.origins["venv_path"]) == ("manifest", "default")


@pytest.mark.parametrize("bare", ["python", "python3"])
def test_a_bare_python_is_the_interpreter_in_force(folder: Path, monkeypatch: Any, bare: str) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    asked = {"python_executable": bare}
    settings = resolve_settings(manifest_settings=asked)
    assert (settings.config.python_executable, settings.origins["python_executable"]) == (sys.executable, "manifest")
    write(folder / "runtime.toml", f"[multiprocess.python]\nexecutable = '{bare}'\n")
    for manifest in (None, asked):
        assert resolve_settings(manifest_settings=manifest).config.python_executable == sys.executable
    write(folder / "runtime.toml", "[multiprocess.python]\nexecutable = '/opt/python'\n")
    settings = resolve_settings(manifest_settings=asked)
    assert settings.config.python_executable == "/opt/python"
    assert settings.origins["python_executable"] == "runtime.toml line 2"
    write(folder / "runtime.toml", f"[multiprocess.python]\nexecutable = '{bare}'\nvenv_path = '.venv'\n")
    assert resolve_settings(manifest_settings=asked).config.venv_path == str(folder / ".venv")
    assert MultiprocessConfig(**asked).python_executable == sys.executable


@pytest.mark.parametrize("other", ["python3.12", "./python", "bin/python3", "Python", "pypy3"])
def test_any_other_python_is_what_it_says(other: str) -> None:
    config = resolve_settings(manifest_settings={"python_executable": other}).config
    assert config.python_executable == (other if "/" not in other else str(Path(other).absolute()))
    assert MultiprocessConfig(python_executable=other).python_executable == other


def test_a_manifests_paths_are_relative_to_it(folder: Path) -> None:
    names = {"python_executable": "bin/python", "venv_path": ".venv", "extra_paths": ["nodes"]}
    config = resolve_settings(manifest_settings=names, manifest_path=Path("pipelines/speech.yaml")).config
    above = folder / "pipelines"
    assert (config.python_executable, config.venv_path) == (str(above / "bin/python"), str(above / ".venv"))
    assert config.extra_paths == (str(above / "nodes"),)


def test_all_sources_are_refused_at_once(folder: Path) -> None:
    write(folder / "runtime.toml", "[multiprocess]\nspin_us = -1\n")
    with pytest.raises(ConfigurationError) as raised:
        resolve_settings(
            manifest_settings={"chanel_capacity": 1, "venv_path": 3, "spin_us": None},
            manifest_path=Path("speech.yaml"),
            overrides={"init_timeout_secs": -1.0},
        )
    first, *rest = str(raised.value).splitlines()
    assert first == "init_timeout_secs: must be a positive number of seconds, not -1.0"
    assert rest[0].startswith(
        "speech.yaml: metadata.multiprocess.chanel_capacity: there is no key 'chanel_capacity' here"
    )
    assert rest[1:] == [
        "speech.yaml: metadata.multiprocess.venv_path: must be the path of a folder or null, not 3",
        "speech.yaml: metadata.multiprocess.spin_us: must be a whole number from 0 to 1000000, not null",
        "runtime.toml:2: multiprocess.spin_us: must be a whole number from 0 to 1000000, not -1",
    ]


@pytest.mark.parametrize("wrong", [None, [], "spin_us", 5])
def test_settings_that_are_no_mapping(wrong: object) -> None:
    (problem,) = find_setting_problems(wrong)
    assert str(problem).startswith("metadata.multiprocess: must be settings by name, not ")


def test_a_key_that_is_no_text() -> None:
    (problem,) = find_setting_problems({5: {3: 4}})
    assert str(problem).startswith(
        "metadata.multiprocess.5: there is no key 5 here; the keys are: 'max_processes_per_session', "
    )
