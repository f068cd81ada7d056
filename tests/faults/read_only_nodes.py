"""Node classes that write to what they receive, and that say what they read. Imports little."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import threading

import numpy as np

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node


class Plain(MultiprocessNode):
    async def initialize(self) -> None:
        pass

    async def cleanup(self) -> None:
        pass


@register_node("ro-scribble")
class Scribble(Plain):
    """Writes to what it receives as code does that knows no numpy flags; in a thread if its config says so."""

    async def initialize(self) -> None:
        if self.config.get("faulthandler"):
            faulthandler.enable()  # again, as a user's own code may

    async def process(self, data: RuntimeData) -> RuntimeData:
        if self.config["how"] == "writable":
            data.as_numpy(writable=True)[:] = 99
            return data
        target = data.payload if isinstance(data.payload, np.ndarray) else np.frombuffer(data.payload, np.uint8)
        if self.config["how"] == "thread":
            thread = threading.Thread(target=ctypes.memset, args=(target.ctypes.data, 99, target.nbytes))
            thread.start()
            thread.join()
        elif self.config["how"] == "numpy":
            pointer = ctypes.cast(target.ctypes.data, ctypes.POINTER(ctypes.c_ubyte))
            np.ctypeslib.as_array(pointer, (target.nbytes,))[-1] = 99
        elif self.config["how"] == "elsewhere":
            ctypes.memset(8, 99, 1)
        elif self.config["how"] == "child":
            child = os.fork()
            if child == 0:
                ctypes.memset(target.ctypes.data, 99, 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGSEGV
            ctypes.memset(8, 99, 1)
        elif self.config["how"] == "kill":
            os.kill(os.getpid(), signal.SIGSEGV)
        return data


@register_node("ro-pass")
class Pass(Plain):
    async def process(self, data: RuntimeData) -> RuntimeData:
        return data


@register_node("ro-sum")
class Sum(Plain):
    async def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.text(str(int(np.frombuffer(data.payload, np.uint8).sum())))
