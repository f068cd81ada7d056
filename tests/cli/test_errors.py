"""Errors of the framework as the user reads them."""

import pytest

from remotemedia.cli._errors import guarded
from remotemedia.errors import InitializationTimeout, NodeInitializationError, NodeProcessError, ProcessCrashError


def report(error, capsys, *, debug=False):
    def run():
        raise error

    code = guarded(run, debug=debug)
    return code, capsys.readouterr().err


BUG = NodeProcessError("asr", "KeyError: 'of port ': x'", 3, "audio", 'Traceback ...\n  File "asr.py"\nKeyError')
FULL_DISK = NodeProcessError("write", "OSError: no space left", 3, "audio", 'Traceback ...\n  File "w.py"\nOSError')


def test_a_bug_in_a_node_comes_with_its_traceback(capsys):
    code, err = report(BUG, capsys)
    assert code == 1
    assert err.startswith("remotemedia: Node 'asr' failed on message 3 of port 'audio': KeyError: ")
    assert "in the process of node 'asr':\nTraceback ...\n" in err


def test_circumstances_are_one_line_without_debug(capsys):
    line = "remotemedia: Node 'write' failed on message 3 of port 'audio': OSError: no space left\n"
    assert report(FULL_DISK, capsys) == (1, line)
    assert "Traceback" in report(FULL_DISK, capsys, debug=True)[1]


def test_a_node_that_does_not_initialize(capsys):
    error = NodeInitializationError("vad", "RuntimeError: bad model", "Traceback ...\nRuntimeError: bad model")
    code, err = report(error, capsys)
    assert code == 1
    assert err.count("RuntimeError: bad model") == 2
    assert err.count("Traceback") == 1


def test_a_library_that_does_not_load(capsys):
    said = "ResampleNode needs soxr (no such symbol); /usr/bin/python3 -m pip install '/media[speech]'"
    code, err = report(NodeInitializationError("resample", f"ImportError: {said}", "Traceback ..."), capsys)
    assert (code, err) == (2, f"remotemedia: {said}\n")


@pytest.mark.parametrize(
    ("signal", "lines"),
    [(9, 1), (None, 3)],
)
def test_a_crash_shows_stderr_when_no_signal_explains_it(capsys, signal, lines):
    code, err = report(ProcessCrashError("tts", 137 if signal else 7, signal, ("the reason",)), capsys)
    assert code == 1
    assert err.startswith("remotemedia: Process tts crashed with code ")
    assert err.count("\n") == lines


def test_any_other_error_is_one_line(capsys):
    assert report(InitializationTimeout("not ready within 60 s: 'asr'"), capsys) == (
        1,
        "remotemedia: not ready within 60 s: 'asr'\n",
    )
