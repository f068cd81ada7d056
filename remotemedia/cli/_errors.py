"""Exit codes, and what the user sees when something goes wrong."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable

from remotemedia.cli._engine import load_engine
from remotemedia.errors import (
    ConfigurationError,
    ManifestError,
    MultiprocessError,
    NodeInitializationError,
    NodeProcessError,
    ProcessCrashError,
)

__all__ = [
    "EXIT_DONE",
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_MISTAKE",
    "EXIT_NOTHING_CAME",
    "EXIT_TERMINATED",
    "Mistake",
    "ReaderGone",
    "Terminated",
    "complain",
    "first_line",
    "guarded",
    "set_up_logging",
]

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_MISTAKE = 2
EXIT_NOTHING_CAME = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# What a node raises because of where it runs; any other kind is taken for a bug in the node, whose traceback helps.
_CIRCUMSTANCES = (
    "FileNotFoundError",
    "ImportError",
    "IsADirectoryError",
    "LibsndfileError",
    "MemoryError",
    "ModuleNotFoundError",
    "OSError",
    "PermissionError",
    "ValueError",
)


class Mistake(Exception):
    """What the user can put right. Its text says how, in one line."""


class ReaderGone(Exception):
    """The output has no reader: a BrokenPipeError that no layer takes for an error of its own."""


class Terminated(Exception):
    """SIGTERM came."""


def complain(text: str) -> None:
    """One message on stderr."""
    print(f"remotemedia: {text}", file=sys.stderr, flush=True)


def guarded(run: Callable[[], int], *, debug: bool, engine: bool = False) -> int:
    """Returns what ``run`` returns; its errors become a message and an exit code. It may need the ``engine``."""
    try:
        if engine:
            load_engine()
        return run()
    except Mistake as mistake:
        complain(" ".join(str(mistake).split()))
        return EXIT_MISTAKE
    except (ConfigurationError, ManifestError) as error:
        for problem in error.problems:
            complain(str(problem))
        return EXIT_MISTAKE
    except MultiprocessError as error:
        hint = _what_to_install(error)
        if hint:
            complain(hint)
            return EXIT_MISTAKE
        complain(_description(error, debug=debug))
        return EXIT_FAILED
    except ImportError as error:
        if error.name != "remotemedia._ring":
            raise
        complain(str(error))
        return EXIT_MISTAKE
    except (BrokenPipeError, ReaderGone):
        _silence_stdout()  # nobody reads on, so there is nobody to tell
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in _DISK_IS_FULL or error.filename is not None:
            raise
        _silence_stdout()
        complain(f"cannot write to stdout: {error.strerror}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_INTERRUPTED
    except Terminated:
        complain("terminated")
        return EXIT_TERMINATED


def _silence_stdout() -> None:
    # Output still to be written would make Python complain once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def set_up_logging(*, debug: bool) -> None:
    """With ``debug`` the package's log goes to stderr; without, the command says itself what it would say of errors."""
    logger = logging.getLogger("remotemedia")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler() if debug else logging.NullHandler())
    logger.setLevel(logging.DEBUG if debug else logging.CRITICAL)


def first_line(error: BaseException) -> str:
    """The message of an error without the traceback or the output that follows it."""
    lines = str(error).splitlines()
    return lines[0].rstrip(":") if lines else type(error).__name__


def _what_to_install(error: MultiprocessError) -> str | None:
    if isinstance(error, NodeInitializationError) and "pip install" in error.reason:
        return error.reason.partition("Error: ")[2]
    return None


def _description(error: MultiprocessError, *, debug: bool) -> str:
    text = first_line(error)
    if isinstance(error, NodeProcessError | NodeInitializationError):
        if error.remote_traceback and (debug or not error.reason.startswith(_CIRCUMSTANCES)):
            text += f"\nin the process of node {error.node_id!r}:\n{error.remote_traceback.rstrip()}"
    elif isinstance(error, ProcessCrashError):
        # A signal such as SIGKILL came from outside, or from a lack of memory. With --debug the log has said it all.
        if error.signal is None and not debug:
            text = str(error)
        elif error.stderr_tail and not debug:
            text += "; --debug shows what it wrote to stderr"
    return text
