"""Files that replace the previous one only once they are complete."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["Draft", "real_path"]


def real_path(path: Path) -> Path:
    """The path with its links followed; if they form a circle, one of the links in it.

    ``Path.resolve`` raises RuntimeError for a circle, up to Python 3.12. Opening this path raises OSError instead.
    """
    return Path(os.path.realpath(path))


class Draft:
    """An unfinished file in the folder of its target; its owner closes it.

    It has no name until it is kept, so nothing is left of it however this process ends. On a file system without
    unnamed files its name begins with a dot. A ``named`` draft is only such a name: another process writes the file,
    by a draft of its own.

    OSError if it cannot be created, or if the target is something that a file must not replace: a folder, a device, a
    pipe, a write-protected file.

    Attributes:
        final: the target. A link stays a link: the file that it points to is replaced.
        fd: to write the draft and read it back; ``keep()`` and ``close()`` close it. -1 for a ``named`` draft.
    """

    def __init__(self, path: Path, *, named: bool = False) -> None:
        self.final = real_path(path)
        self._name: Path | None = None
        _check(self.final)
        self.fd = -1 if named else self._open_nameless()
        if self.fd < 0:
            name = self._new_name()
            self.fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            self._name = name
        if named:
            # It was created only to see whether that is possible.
            self.close()
            self._name = name

    @property
    def path(self) -> Path:
        """Its name; ValueError if it has none."""
        if self._name is None:
            raise ValueError(f"the draft of {self.final} has no name")
        return self._name

    def keep(self) -> None:
        """Makes the draft the file, with the permissions of the one it replaces. OSError if that fails."""
        with suppress(FileNotFoundError, PermissionError):
            mode = stat.S_IMODE(self.final.stat().st_mode)
            os.fchmod(self.fd, mode) if self._name is None else self._name.chmod(mode)
        if self._name is None:
            name = self._new_name()
            # os.link follows the link in /proc only if it gets a src_dir_fd, which an absolute path ignores.
            os.link(_in_proc(self.fd), name, src_dir_fd=self.fd, follow_symlinks=True)
            self._name = name
        # Some file systems report only now that the disk is full.
        self._close_fd()
        self._name.replace(self.final)
        self._name = None

    def close(self) -> None:
        """Removes a draft that was not kept. May be repeated."""
        self._close_fd()
        name, self._name = self._name, None
        if name is not None:
            with suppress(OSError):
                name.unlink()

    def _close_fd(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _new_name(self) -> Path:
        return self.final.with_name(f".{self.final.stem[:40]}-{os.urandom(4).hex()}{self.final.suffix[:10]}")

    def _open_nameless(self) -> int:
        try:
            fd = os.open(self.final.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except OSError:
            return -1
        if not _in_proc(fd).exists():  # without /proc it could never get its name
            os.close(fd)
            return -1
        return fd


def _check(final: Path) -> None:
    try:
        mode = final.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(final))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(final))
    if not os.access(final, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(final))


def _in_proc(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}")
