"""Shell completion: in a real bash, and by what the scripts of the other shells ask for."""

import os
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def folder(tmp_path):
    """Files to choose from, and below bin/ the command under its name."""
    for name in ("speech.yaml", "spoken.yml", "spare.json", "spam.txt"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "deep.yaml").touch()
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "remotemedia"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m remotemedia "$@"\n')
    script.chmod(0o755)
    return tmp_path


def environment(folder, **more):
    return os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}"} | more


BASH = """
eval "$(remotemedia completion bash)"
[[ $(complete -p remotemedia) == *_remotemedia_completion* ]] || exit 9
compopt() { COMPREPLY+=("<$2>"); }  # works only while bash itself completes
COMP_WORDS=(remotemedia "$@") COMP_CWORD=$#
_remotemedia_completion remotemedia
printf '%s\\n' "${COMPREPLY[@]}"
"""
FILES = "<default>"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["com"], ["completion"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["run", "sp"], ["spare.json", "speech.yaml", "spoken.yml"]),
        (["run", "more/"], ["more/deep.yaml"]),
        (["run", "none"], [FILES]),
        (["run", "none/x"], [FILES]),
        (["run", "speech.yaml", "-i", "sp"], [FILES]),
        (["run", "--input-f"], ["--input-format"]),
        (["run", "--input-format", "a"], ["auto", "audio"]),
        (
            ["nodes", "show", "Audio"],
            ["AudioChunkerNode", "AudioFileReaderNode", "AudioFileWriterNode", "AudioOutputNode"],
        ),
        (["validate", "speech.yaml", "spo"], ["spoken.yml"]),
        (["config", "spe"], ["speech.yaml"]),
    ],
)
def test_bash_completes(folder, words, expected):
    arguments = ["bash", "--norc", "-c", BASH, "bash", *words]
    done = subprocess.run(arguments, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == expected


def test_zsh_and_fish_get_the_same_answers(folder):
    for shell, words, separator in (("zsh", "remotemedia run spe", "\n"), ("fish", "remotemedia run spe", ",")):
        asked = {"_REMOTEMEDIA_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": "2"}
        if shell == "fish":
            asked["COMP_CWORD"] = "spe"
        done = subprocess.run(
            ["remotemedia"], cwd=folder, env=environment(folder, **asked), capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "plain" + separator + "speech.yaml" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_the_shell_takes(remotemedia, tmp_path, shell):
    done = remotemedia("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"_REMOTEMEDIA_COMPLETE={shell}_complete" in done.out
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} to try it")
    (tmp_path / "script").write_text(done.out)
    assert subprocess.run([shell, "-n", tmp_path / "script"]).returncode == 0


def test_another_shell_is_a_mistake(remotemedia):
    done = remotemedia("completion", "csh")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("remotemedia: Invalid value for '{bash|zsh|fish}': 'csh' is not one of")
    assert done.err.count("\n") == 1
