"""A node that says which Python it runs on, for tests of nodes with interpreters of their own."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode

__all__ = ["Requiring", "WhichPython"]


class WhichPython(MultiprocessNode):
    """Answers ``VARIABLE ...`` with its prefix, the WORD of the library, its version of Python, and the variables."""

    async def initialize(self) -> None:
        try:
            import only_there
        except ImportError:
            self.word = None
        else:
            self.word = only_there.WORD

    async def process(self, data: RuntimeData) -> RuntimeData:
        if data.payload == "crash":
            os._exit(7)
        if data.payload == "wait":
            await asyncio.sleep(3600)
        variables = [os.environ.get(name) for name in data.payload.split()]
        said = [sys.prefix, self.word, platform.python_version_tuple()[:2], variables]
        return RuntimeData.text(json.dumps(said))


class Requiring(WhichPython):
    """The tests say what it requires."""
