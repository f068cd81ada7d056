"""For tests of programs that use remotemedia: one node without processes, and a check for leaks. docs/testing.md.

::

    async with NodeHost(Echo("echo", {})) as host:
        [answer] = await host.feed(RuntimeData.text("hi"))
"""

# May import: core.multiprocessing, core.data, session, graph, node, channel, values, errors, _ring

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remotemedia.testing.host import NodeHost, run_node
    from remotemedia.testing.leaks import Holdings, no_leaks

__all__ = ["Holdings", "NodeHost", "no_leaks", "run_node"]

_HOME_OF = {"Holdings": "leaks", "NodeHost": "host", "no_leaks": "leaks", "run_node": "host"}


def __getattr__(name: str) -> object:
    # On first use: pytest loads this package's plugin in every run, also where no test needs it.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
