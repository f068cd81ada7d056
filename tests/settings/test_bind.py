"""Which Python a node type runs, written into runtime.toml: that table alone changes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.errors import ConfigurationError
from remotemedia.settings import bind_node_type, resolve_settings

BEFORE = """# mine
[multiprocess]
extra_paths_are_not_here = 0
"""
FILE = """# mine
[multiprocess]
spin_us = 5  # a word

[multiprocess.nodes.A]  # its own
venv_path = "/old"
env = { X = "y" }

# of the service
[service]
port = 3
"""


def test_a_table_is_replaced_and_all_else_stays(tmp_path: Path) -> None:
    file = tmp_path / "runtime.toml"
    file.write_text(FILE)
    bind_node_type(file, "A", {"requirements": ["x>=1,<2"], "version": "3.12"})
    kept = FILE.replace('[multiprocess.nodes.A]  # its own\nvenv_path = "/old"\nenv = { X = "y" }\n\n', "")
    table = '[multiprocess.nodes.A]\nrequirements = ["x>=1,<2"]\nversion = "3.12"\nenv = { "X" = "y" }\n'
    assert file.read_text() == f"{kept}\n{table}"
    assert resolve_settings(config_path=file).config.nodes == {
        "A": {"requirements": ["x>=1,<2"], "version": "3.12", "env": {"X": "y"}}
    }


def test_a_new_file(tmp_path: Path) -> None:
    bind_node_type(tmp_path / "runtime.toml", "a b", {"venv_path": "/v"})
    assert (tmp_path / "runtime.toml").read_text() == '[multiprocess.nodes."a b"]\nvenv_path = "/v"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BEFORE, "there is no key 'extra_paths_are_not_here' here"),
        ("spin_us = \n", "is not TOML"),
        (
            "[multiprocess]\nnodes.A.venv_path = '/v'\n",
            'not under a heading of their own; write there: venv_path = "/w"',
        ),
        ("[multiprocess.nodes]\nA = { venv_path = '/v' }\n", "are not under a heading of their own"),
    ],
)
def test_what_it_cannot_change_stays_as_it_is(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "runtime.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        bind_node_type(file, "A", {"venv_path": "/w"})
    assert file.read_text() == text


NAMES = st.text(alphabet='aB-_. "é\\', min_size=1, max_size=4)


@given(types=st.lists(NAMES, min_size=1, max_size=4), path=st.text(alphabet='/a "\\é', min_size=1, max_size=5))
def test_any_name_and_any_path(tmp_path_factory: pytest.TempPathFactory, types: list[str], path: str) -> None:
    file = tmp_path_factory.mktemp("bind") / "runtime.toml"
    file.write_text("[service]\nport = 3\n")
    for node_type in types:
        bind_node_type(file, node_type, {"venv_path": path})
    nodes = {node_type: {"venv_path": path} for node_type in types}
    assert tomllib.loads(file.read_text()) == {"service": {"port": 3}, "multiprocess": {"nodes": nodes}}
