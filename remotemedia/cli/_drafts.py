"""Drafts of the files that commands write, with the error if one cannot be created."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from remotemedia._drafts import Draft, real_path
from remotemedia.cli._errors import Mistake

__all__ = ["Draft", "new_draft", "real_path"]


@contextmanager
def new_draft(path: Path, what: str, *, named: bool = False) -> Iterator[Draft]:
    """Until ``keep()`` is called, an existing file stays as it is. Mistake for a path that cannot be written.

    ``what``, such as "the answer", is for the error; ``named`` is for a file that another process writes.
    """
    final = real_path(path)
    if final.is_dir():
        raise Mistake(f"{what} cannot be written to {path}: it is a folder")
    if not final.parent.is_dir():
        raise Mistake(f"{what} cannot be written to {path}: there is no folder {path.parent}")
    if final.exists() and not os.access(final, os.W_OK):
        raise Mistake(f"{what} cannot be written to {path}: the file is write-protected")
    try:
        draft = Draft(path, named=named)
    except OSError as error:
        raise Mistake(f"{what} cannot be written to {path}: {error.strerror}") from None
    with closing(draft):
        yield draft
