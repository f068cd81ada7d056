"""Files that replace what was there only once they are whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from remotemedia.cli._errors import Mistake

__all__ = ["Draft", "new_draft"]


class Draft:
    """A file in the making beside the one it becomes."""

    def __init__(self, final: Path, path: Path) -> None:
        self.final = final
        self.path = path

    def keep(self) -> None:
        """The draft becomes the file, with the permissions of the one it replaces."""
        with suppress(FileNotFoundError):
            self.path.chmod(stat.S_IMODE(self.final.stat().st_mode))
        self.path.replace(self.final)


@contextmanager
def new_draft(path: Path, what: str) -> Iterator[Draft]:
    """Until ``keep()`` is called, an existing file stays as it is. Mistake for a path that cannot be written.

    ``what`` it is, such as "the answer", is for the message.
    """
    # A link stays one: what it points to is replaced.
    final = path.resolve()
    if final.is_dir():
        raise Mistake(f"{what} cannot be written to {path}: it is a folder")
    if not final.parent.is_dir():
        raise Mistake(f"{what} cannot be written to {path}: there is no folder {path.parent}")
    if final.exists() and not os.access(final, os.W_OK):
        raise Mistake(f"{what} cannot be written to {path}: the file is write-protected")
    draft = final.with_name(f".{final.stem[:100]}-{os.getpid()}{final.suffix}")
    try:
        try:
            draft.open("wb").close()
        except OSError as error:
            raise Mistake(f"{what} cannot be written to {path}: {error.strerror}") from None
        yield Draft(final, draft)
    finally:
        # What could not be made cannot be removed.
        with suppress(OSError):
            draft.unlink()
