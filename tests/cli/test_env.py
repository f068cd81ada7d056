"""``remotemedia env``: environments from the command line. How they are made is in tests/environments."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def env(warm, tmp_path, environment):
    variables = environment | {"REMOTEMEDIA_CACHE": str(tmp_path / "cache")}

    def run(*arguments):
        done = warm.call("env", *arguments, cwd=tmp_path, env=variables)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


@pytest.fixture
def made(tmp_path):
    """An environment as far as lists go."""
    folder = tmp_path / "cache" / "environments" / "abcdef"
    folder.mkdir(parents=True)
    note = {
        "requirements": ["x>=1"],
        "version": "3.12",
        "size_bytes": 93_000_000,
        "made_at": "2026-01-02T03:04:05",
    }
    (folder / "environment.json").write_text(json.dumps(note))
    return folder


def test_listing_and_removing(env, made, tmp_path):
    assert env("list") == (
        0,
        "abcdef       93 MB  2026-01-02  x>=1 (Python 3.12)\n" + f"93 MB in {made.parent}\n",
        "",
    )
    (listed,) = json.loads(env("list", "--json")[1])["environments"]
    assert (listed["folder"], listed["requirements"], listed["pids"]) == (str(made), ["x>=1"], [])
    assert env("remove", "x")[::2] == (
        2,
        "remotemedia: x: there is no environment of that name; `remotemedia env list` shows them\n",
    )
    assert env("remove", "abc") == (0, "removed abcdef, 93 MB: x>=1 (Python 3.12)\n", "")
    assert env("list")[1] == f"there are no environments in {made.parent}\n"


def test_binding_a_folder(env, tmp_path):
    (tmp_path / "v" / "bin").mkdir(parents=True)
    (tmp_path / "v" / "bin" / "python").touch()
    assert env("bind", "A", "v") == (0, "runtime.toml: nodes of type A run in v\n", "")
    assert (tmp_path / "runtime.toml").read_text() == f'[multiprocess.nodes.A]\nvenv_path = "{tmp_path}/v"\n'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["make"], "name a requirement, such as numpy, or a --node-type that declares some"),
        (["make", "--node-type", "ReplyNode"], "node type 'ReplyNode' declares no requirements"),
        (
            ["make", "--node-type", "ReplyNod"],
            "Unknown node type 'ReplyNod'; did you mean 'ReplyNode' or 'R",
        ),
        (["make", "x", "--python", "4"], "what is asked for must be a version of Python such as \"3.12\", not '4'"),
        (["make", "x\n-r y"], "what is asked for must be a list of requirements as pip has them"),
        (["bind", "A"], "name the FOLDER of an environment, or requirements with -r, and not both"),
        (["bind", "A", "v", "-r", "x"], "name the FOLDER of an environment, or requirements with -r, and not both"),
        (["bind", "A", "v"], "v is not a virtual environment: there is no bin/python in it"),
    ],
)
def test_mistakes(env, tmp_path, arguments, said):
    code, out, err = env(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"remotemedia: {said}")
    assert list(tmp_path.iterdir()) == []
