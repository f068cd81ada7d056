"""What nodes need from the system. If it were not checked, something else would fail later, with a misleading error."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from remotemedia.errors import ProcessSpawnError

__all__ = ["check_surroundings", "remedy_for"]

# A lack of descriptors is reported where they are needed.
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_LIMITS = {errno.EMFILE: " (ulimit -n)", errno.ENFILE: " (sysctl fs.file-max)", errno.EFBIG: " (ulimit -f)"}
_ALLOW = "allow it in the sandbox's seccomp profile (docker run --security-opt seccomp=FILE)"


def check_surroundings() -> None:
    """Raises a ProcessSpawnError that names what is missing here, and how to get it."""
    try:
        process = os.readlink("/proc/self")  # noqa: PTH115
    except OSError as error:
        raise ProcessSpawnError(
            f"nodes need the file system /proc, which is not mounted here ({error.strerror}): mount -t proc proc /proc "
            "(bwrap --proc /proc)"
        ) from None
    if process != str(os.getpid()):
        raise ProcessSpawnError(
            "nodes need a /proc that shows the processes of this namespace, and this one shows those of another: "
            "mount -t proc proc /proc (unshare --mount-proc)"
        )
    _check("the system call pidfd_open", lambda: os.pidfd_open(os.getpid()), f"it needs Linux 5.4; {_ALLOW}")
    _check(os.devnull, lambda: os.open(os.devnull, os.O_RDONLY), f"mknod -m 666 {os.devnull} c 1 3 (bwrap --dev /dev)")


def _check(what: str, open_one: Callable[[], int], remedy: str) -> None:
    try:
        os.close(open_one())
    except OSError as error:
        if error.errno not in _NO_DESCRIPTORS:
            raise ProcessSpawnError(f"nodes need {what}, which is refused here ({error.strerror}): {remedy}") from None


def remedy_for(error: BaseException) -> str:
    """What to add to the system's reason when a session cannot be started: the limit that was reached, or the system
    call that is refused here; empty if neither is known."""
    code = error.errno if isinstance(error, OSError) else None
    if code not in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        return "" if code is None else _LIMITS.get(code, "")
    for name in ("memfd_create", "eventfd"):
        call = getattr(os, name, None)  # an interpreter built for an old C library has neither
        try:
            if call is not None:
                os.close(call("remotemedia-probe") if name == "memfd_create" else call(0))
        except OSError as refusal:
            return f" ({name} is refused here: {refusal.strerror}; {_ALLOW})"
    return ""
