"""``remotemedia config`` shows each setting in force and its origin, and refuses a wrong file."""

import dataclasses
import json

from remotemedia.core.multiprocessing import MultiprocessConfig

FIELDS = [field.name for field in dataclasses.fields(MultiprocessConfig)]


def test_the_table_has_a_line_for_each_setting(remotemedia, tmp_path):
    (tmp_path / "runtime.toml").write_text(
        "[multiprocess]\nchannel_capacity = 7\n[multiprocess.python]\nextra_paths = ['[red]']\n"
    )
    done = remotemedia("config")
    assert (done.code, done.err) == (0, "")
    lines = {line.split()[0]: line for line in done.out.splitlines()[2:]}
    assert list(lines) == FIELDS
    assert "messages a channel holds before its publisher waits" in lines["channel_capacity"]
    assert lines["channel_capacity"].split()[1:5] == ["7", "runtime.toml", "line", "2"]
    assert lines["extra_paths"].split()[1:5] == [f"{tmp_path}/[red]", "runtime.toml", "line", "4"]
    assert lines["venv_path"].split()[1:3] == ["none", "default"]


def test_json(remotemedia, tmp_path):
    (tmp_path / "service.toml").write_text("[multiprocess]\nmax_processes_per_session = 3\n")
    (tmp_path / "runtime.toml").write_text("[multiprocess]\nmax_processes_per_session = 4\n")
    done = remotemedia("config", "--config", "service.toml", "--json")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert answer["file"] == "service.toml"
    assert list(answer["settings"]) == FIELDS
    assert answer["settings"]["max_processes_per_session"] == {
        "value": 3,
        "origin": "service.toml line 2",
        "meaning": "most nodes a session may have; None = no limit.",
    }
    assert all(entry["meaning"] for entry in answer["settings"].values())
    assert json.loads(remotemedia("config", "--json").out)["file"] == "runtime.toml"


def test_a_wrong_file(remotemedia, tmp_path):
    (tmp_path / "runtime.toml").write_text("[multiprocess]\nspin_us = -1\nchanel_capacity = 1\n")
    done = remotemedia("config")
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first == (
        "remotemedia: runtime.toml:2: multiprocess.spin_us: must be a whole number from 0 to 1000000, not -1"
    )
    assert second.startswith("remotemedia: runtime.toml:3: multiprocess.chanel_capacity: unknown key; did you mean ")


def test_no_such_file(remotemedia):
    done = remotemedia("config", "--config", "none.toml")
    assert (done.code, done.out, done.err) == (2, "", "remotemedia: none.toml: there is no such file\n")


def test_help(remotemedia):
    done = remotemedia("config", "--help")
    assert (done.code, done.err) == (0, "")
    for part in ("Examples:", "remotemedia config --config service.toml", "Exit codes:"):
        assert part in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())
