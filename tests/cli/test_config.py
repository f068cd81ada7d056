"""``remotemedia config`` shows each setting in force and its origin, and refuses a wrong file."""

import dataclasses
import json

import pytest

from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.service.config import ServiceConfig

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
    assert second.startswith(
        "remotemedia: runtime.toml:3: multiprocess.chanel_capacity: there is no key 'chanel_capacity' here; "
    )


MANIFEST = """\
version: v1
metadata:
  multiprocess:
    {setting}
nodes:
  - id: a
    node_type: NobodyKnowsThisNode
"""


def test_a_manifest_goes_before_runtime_toml(remotemedia, tmp_path):
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (tmp_path / "runtime.toml").write_text("[multiprocess]\nchannel_capacity = 1\n")
    (folder / "runtime.toml").write_text("[multiprocess]\nchannel_capacity = 2\nspin_us = 2\n")
    (folder / "speech.yaml").write_text(MANIFEST.format(setting="channel_capacity: 3"))
    done = remotemedia("config", "pipelines/speech.yaml", "--json")
    assert (done.code, done.err) == (0, "")
    settings = json.loads(done.out)["settings"]
    origins = {name: (entry["value"], entry["origin"]) for name, entry in settings.items()}
    assert origins["channel_capacity"] == (3, "manifest")
    assert origins["spin_us"] == (2, "pipelines/runtime.toml line 3")


def test_a_wrong_manifest_and_a_wrong_runtime_toml_at_once(remotemedia, tmp_path):
    (tmp_path / "runtime.toml").write_text("[multiprocess]\nspin_us = -1\n")
    (tmp_path / "speech.yaml").write_text(MANIFEST.format(setting="channel_capacity: 0"))
    done = remotemedia("config", "speech.yaml")
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("remotemedia: speech.yaml:4: metadata.multiprocess.channel_capacity: ")
    assert second.startswith("remotemedia: runtime.toml:2: multiprocess.spin_us: ")


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read: No such file"), ("version: [\n", ""), ("version: v2\n", "version")]
)
def test_a_manifest_that_is_none(remotemedia, tmp_path, content, words):
    if content is not None:
        (tmp_path / "speech.yaml").write_text(content)
    done = remotemedia("config", "speech.yaml")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("remotemedia: speech.yaml:") and words in done.err
    assert "Traceback" not in done.err


def test_no_such_file(remotemedia):
    done = remotemedia("config", "--config", "none.toml")
    assert (done.code, done.out, done.err) == (2, "", "remotemedia: none.toml: there is no such file\n")


def test_help(remotemedia):
    done = remotemedia("config", "--help")
    assert (done.code, done.err) == (0, "")
    for part in ("Examples:", "remotemedia config --config service.toml", "Exit codes:"):
        assert part in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())


def test_of_the_service(remotemedia, tmp_path, environment, monkeypatch):
    monkeypatch.setitem(environment, "GRPC_AUTH_TOKENS", "secret-1,secret-2")
    (tmp_path / "runtime.toml").write_text("[service]\nport = 7\n[multiprocess]\nspin_us = 1\n")
    done = remotemedia("config", "--service")
    assert (done.code, done.err) == (0, "")
    lines = {line.split()[0]: line for line in done.out.splitlines()[2:]}
    assert list(lines) == list(ServiceConfig.RULES)
    assert lines["port"].split()[1:5] == ["7", "runtime.toml", "line", "2"]
    assert "GRPC_AUTH_TOKENS" in lines["tokens"]
    as_json = remotemedia("config", "--service", "--json").out
    assert json.loads(as_json)["settings"]["tokens"]["value"] == ["(not shown)"] * 2
    assert "secret" not in done.out + as_json
    assert all(entry["meaning"] for entry in json.loads(as_json)["settings"].values())


def test_the_service_has_no_manifest(remotemedia):
    done = remotemedia("config", "--service", "speech.yaml")
    assert (done.code, done.out) == (2, "")
    assert done.err == "remotemedia: --service takes no MANIFEST: the service's settings do not come from one\n"
