"""The end of a session that its program drops: nothing here keeps it alive, and its processes end with it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import ParamSpec

from remotemedia.core.multiprocess.session.account import Account
from remotemedia.core.multiprocess.session.supervisor import Supervisor

__all__ = ["abandon", "weakly"]

_Args = ParamSpec("_Args")


def weakly(method: Callable[_Args, None]) -> Callable[_Args, None]:
    """Calls the method while its object lives. The event loop knows the supervisor: that must not keep the session."""
    reference = weakref.WeakMethod(method)

    def call(*args: _Args.args, **named: _Args.kwargs) -> None:
        found = reference()
        if found is not None:
            found(*args, **named)

    return call


def abandon(owner_pid: int, supervisor: Supervisor, account: Account) -> None:
    """Ends a session nobody has any more, without waiting for its event loop; in a forked child it does nothing."""
    if os.getpid() != owner_pid or supervisor.kill_elsewhere(partial(abandon, owner_pid, supervisor, account)):
        return
    supervisor.abandon()
    account.close()
