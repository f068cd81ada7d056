"""The end of a session that its program drops: nothing here keeps it alive, and its processes end with it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from remotemedia.core.multiprocess.session.account import Account
from remotemedia.core.multiprocess.session.supervisor import Supervisor
from remotemedia.errors import MultiprocessError

__all__ = ["abandon", "weakly"]

ErrorT = TypeVar("ErrorT", bound=MultiprocessError)


def weakly(method: Callable[[ErrorT], None]) -> Callable[[ErrorT], None]:
    """Calls the method while its object lives. The event loop knows the supervisor: that must not keep the session."""
    reference = weakref.WeakMethod(method)

    def call(error: ErrorT) -> None:
        found = reference()
        if found is not None:
            found(error)

    return call


def abandon(owner_pid: int, supervisor: Supervisor, account: Account) -> None:
    """Ends a session nobody has any more, without waiting for its event loop; in a forked child it does nothing."""
    if os.getpid() != owner_pid or supervisor.kill_elsewhere(partial(abandon, owner_pid, supervisor, account)):
        return
    supervisor.abandon()
    account.close()
