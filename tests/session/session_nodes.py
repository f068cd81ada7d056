"""Node classes for tests of whole sessions. Node processes load this file by its path: it imports little."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node

FOREVER_SECS = 3600
MB = 1_000_000


class Base(MultiprocessNode):
    """Understands in its config: ``grandchild`` (a process it starts), ``cleanup_file`` (written by cleanup()), ``eat``
    (how many MB it touches and keeps)."""

    async def initialize(self) -> None:
        self.eaten = b"x" * (self.config.get("eat", 0) * MB)
        if self.config.get("grandchild"):
            child = subprocess.Popen(["sleep", str(FOREVER_SECS)])
            self.report_progress(0.5, f"grandchild {child.pid}")

    async def process(self, data: RuntimeData) -> Any:
        return data

    async def cleanup(self) -> None:
        if "cleanup_file" in self.config:
            with Path(self.config["cleanup_file"]).open("a") as file:
                file.write(f"{self.node_id}\n")


@register_node("t-echo")
class Echo(Base):
    pass


@register_node("t-marks")
class KnowsMarks(Base):
    on_mark = Base.process


@register_node("t-loop")
class TellLoop(Base):
    """What it is given, and which event loop it was given it on."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        data.metadata = {"loop": type(asyncio.get_running_loop()).__module__}
        return data


@register_node("t-tag")
class Tag(Base):
    """Appends where a text came through; passes arrays on as they are."""

    async def process(self, data: RuntimeData) -> Any:
        if isinstance(data.payload, str):
            return RuntimeData.text(f"{data.payload}>{self.node_id}.{data.port}")
        return data

    async def finish(self) -> Any:
        return RuntimeData.text(f"end>{self.node_id}") if self.config.get("says_end") else None


@register_node("t-declared")
class Declared(Tag):
    """Says by what name it is to be fed."""

    inputs = {"words": DataType.TEXT}


@register_node("t-other-names")
class OtherNames(Base):
    inputs = {"in": DataType.TEXT}
    outputs = {"text": DataType.TEXT, "more": DataType.TEXT}
    port_aliases = {"text_in": "in", "text_out": "text"}

    async def process(self, data):
        return {"text": RuntimeData.text(f"{data.payload} {data.port}")}


@register_node("t-liar")
class Liar(Base):
    """Writes what its config says to the orchestrator, as a message: by its length, and not by its sense."""

    async def initialize(self) -> None:
        said = self.config["says"].encode()
        os.write(3, len(said).to_bytes(4) + said)


@register_node("t-desert")
class Desert(Base):
    """Goes on without its control socket: from ``initialize()``, from ``process()``, or at rest, from a callback."""

    async def initialize(self) -> None:
        if self.config["when"] == "loading":
            self.desert()

    async def process(self, data: RuntimeData) -> RuntimeData:
        if self.config["when"] == "processing":
            self.desert()
        elif self.config["when"] == "idle":
            asyncio.get_running_loop().call_later(0.05, self.desert)
        return data

    def desert(self) -> None:
        how = self.config["how"]
        if how == "close":
            os.close(3)
            return
        if how == "leave the group, exec":
            os.setpgid(0, os.getpgid(os.getppid()))
        os.execvp("sleep", ["sleep", str(FOREVER_SECS)])


@register_node("t-strict")
class Strict(Base):
    """Takes one param, and has one port on each side."""

    params = {"factor": Param(float, 1.0)}
    inputs = {"words": DataType.TEXT}
    outputs = {"words": DataType.TEXT}


@register_node("t-takes")
class Takes(Base):
    """Says what came, and on which of its ports."""

    inputs = {
        "text": DataType.TEXT,
        "tensor": DataType.TENSOR,
        "audio": DataType.AUDIO,
        "both": (DataType.TEXT, DataType.TENSOR),
        "media": (DataType.AUDIO, DataType.TENSOR),
        "json": DataType.JSON,
        "words": (DataType.TEXT, DataType.JSON),
        "rows": (DataType.JSON, DataType.TENSOR),
        "any": None,
    }
    outputs = {"said": DataType.TEXT}

    async def process(self, data: RuntimeData) -> Any:
        return RuntimeData.text(f"{data.type.name} {type(data.payload).__name__} on {data.port}")


@register_node("t-wrong")
class Wrong(Base):
    """Returns something that is not a message."""

    async def process(self, data: RuntimeData) -> Any:
        return {"plain": "said", "dict": {"out": b"said"}}[data.payload]


@register_node("t-ports")
class Ports(Base):
    """One output per port of its config."""

    async def process(self, data: RuntimeData) -> Any:
        return {port: RuntimeData.text(f"{data.payload} on {port}") for port in self.config["ports"]}


@register_node("t-repeat")
class Repeat(Base):
    """An async generator; ``finish()`` is one too."""

    async def process(self, data: RuntimeData) -> Any:
        for number in range(self.config.get("times", 3)):
            yield RuntimeData.text(f"{data.payload}.{number}")

    async def finish(self) -> Any:
        yield RuntimeData.text("one more")
        yield {"output": RuntimeData.text("the last")}


@register_node("t-plain")
class Plain(MultiprocessNode):
    """Written without ``async``, and without ``cleanup()``. It gives its event loop the name that many would."""

    def initialize(self) -> None:
        super().initialize()
        self._loop = asyncio.get_running_loop()
        self.handled = 0

    def process(self, data: RuntimeData) -> RuntimeData:
        self.handled += 1
        return RuntimeData.text(f"{data.payload}.{self.handled}")

    def on_interrupt(self) -> None:
        self.handled = 100

    def finish(self) -> Any:
        yield RuntimeData.text("one more")
        yield RuntimeData.text("the last")


@register_node("t-plain-stream")
class PlainStream(MultiprocessNode):
    """A plain generator; its ``cleanup()`` writes what its ``initialize()``, a plain function, left to a coroutine."""

    def initialize(self) -> Any:
        return self.load()

    async def load(self) -> None:
        await asyncio.sleep(0)
        self.loaded = "loaded in a coroutine"

    def process(self, data: RuntimeData) -> Any:
        try:
            yield data
            if data.payload == "raise":
                raise ValueError("midway")
            while data.payload == "flood":
                yield data
            while data.payload == "think":
                yield None
            yield {"output": RuntimeData.text("again")}
        finally:
            self.closed = "closed"

    def cleanup(self) -> None:
        with Path(self.config["cleanup_file"]).open("w") as file:
            file.write(f"{self.loaded}, {self.closed}")


@register_node("t-no-super")
class NoSuper(MultiprocessNode):
    """Forgets the ``__init__`` of its base class."""

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        self.model = config

    def process(self, data: RuntimeData) -> RuntimeData:
        return data


def die(how: str) -> None:
    if how == "os._exit(0)":
        os._exit(0)
    if how == "os._exit(3)":
        os._exit(3)
    if how == "sys.exit(5)":
        sys.exit(5)
    os.kill(os.getpid(), getattr(signal, how))


def hold_the_gil(secs: float) -> None:
    """In C, the way a library does that never heard of Python's lock."""
    ctypes.PyDLL(None).usleep(ctypes.c_uint(int(secs * 1e6)))


@register_node("t-do")
class Do(Base):
    """Does what a text says; first it yields the text, so that the reader knows it is in process()."""

    async def process(self, data: RuntimeData) -> Any:
        order, _, argument = str(data.payload).partition(" ")
        yield data
        if order == "raise":
            raise ValueError(argument)
        if order == "print":
            print(argument, flush=True)
        elif order == "complain":
            print(argument, file=sys.stderr, flush=True)
        elif order == "die":
            die(argument)
        elif order == "complain-and-die":
            print("the last words", file=sys.stderr, flush=True)
            die(argument)
        elif order == "eat":
            self.eaten = b"x" * (int(argument) * MB)
        elif order == "choke":
            try:
                self.eaten = b"x" * (int(argument) * MB)
            except MemoryError:
                raise RuntimeError("cannot make room") from None
        elif order == "detach":
            command = ["sh", "-c", argument] if argument else ["sleep", str(FOREVER_SECS)]
            child = subprocess.Popen(command, start_new_session=True)
            yield RuntimeData.text(str(child.pid))
        elif order == "wait":
            await asyncio.sleep(FOREVER_SECS)
        elif order == "block":
            time.sleep(float(argument))
            yield RuntimeData.text("blocked no more")
        elif order == "stick":
            hold_the_gil(FOREVER_SECS)
        elif order == "cancel":
            raise asyncio.CancelledError
        elif order == "progress":
            self.report_progress(0.5, argument)


@register_node("t-init")
class Init(Base):
    """Does in ``initialize()`` what its config says."""

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        if config.get("how") == "raise in __init__":
            raise RuntimeError("no such weights")

    async def initialize(self) -> None:
        await super().initialize()
        how = self.config.get("how")
        self.report_progress(0.25, "reading weights")
        if how == "raise":
            raise RuntimeError("no such weights")
        if how == "cancel":
            raise asyncio.CancelledError
        if how == "die":
            print("dying in initialize()", file=sys.stderr, flush=True)
            die(self.config["with"])
        if how == "wait":
            for stream, text in self.config.get("says", ()):
                print(text, end="", file=getattr(sys, stream), flush=True)
            await asyncio.sleep(self.config.get("secs", FOREVER_SECS))
        if how == "stick":
            hold_the_gil(self.config.get("secs", FOREVER_SECS))
        if how == "progress":
            self.report_progress(0.5, "half")
            self.report_progress(7.0, "too much")
            self.report_progress(float("nan"), "not a number")
        if how == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            hold_the_gil(FOREVER_SECS)


@register_node("t-deaf")
class Deaf(Base):
    """Ignores SIGTERM, and sticks in C code when it gets a message."""

    async def initialize(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def process(self, data: RuntimeData) -> Any:
        yield data
        hold_the_gil(FOREVER_SECS)


@register_node("t-bad-cleanup")
class BadCleanup(Base):
    async def cleanup(self) -> None:
        raise RuntimeError("cannot clean up")


@register_node("t-slow-cleanup")
class SlowCleanup(Base):
    async def cleanup(self) -> None:
        await asyncio.sleep(FOREVER_SECS)


@register_node("t-work")
class Work(Base):
    """Computes for ``secs`` without ever awaiting, then passes the message on."""

    async def process(self, data: RuntimeData) -> Any:
        until = time.perf_counter() + self.config.get("secs", 0.002)
        while time.perf_counter() < until:
            pass
        return data


@register_node("t-hold")
class Hold(Base):
    """Keeps arrays and lets go of them later and out of order; says at the end whether all were as they came."""

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self.held: list[Any] = []
        self.wrong = 0

    async def process(self, data: RuntimeData) -> Any:
        self.held.append(data.as_numpy())
        while len(self.held) > self.config["keep"]:
            array = self.held.pop((len(self.held) * 7) // 3 % len(self.held))
            self.check(array)

    def check(self, array: Any) -> None:
        if len(array) and not (array == array[0]).all():
            self.wrong += 1

    async def finish(self) -> Any:
        for array in self.held:
            self.check(array)
        self.held.clear()
        return RuntimeData.text(f"{self.wrong} wrong")


@register_node("t-turn")
class Turn(Base):
    """A node that gathers: says after an interruption how much it had to forget."""

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self.gathered = 0
        self.forgotten: list[int] = []

    async def process(self, data: RuntimeData) -> Any:
        if data.payload == "tell":
            return RuntimeData.text(repr(self.forgotten))
        self.gathered += 1
        return data

    async def on_interrupt(self) -> None:
        self.forgotten.append(self.gathered)
        self.gathered = 0


@register_node("t-mouth")
class Mouth(Base):
    """For ``"long WORD"`` it says ``WORD.0`` and is never done; any other text it repeats. Tells how it was cut.

    With ``gate`` in its config, a long call is done once there is that file, and on_interrupt() removes it.
    """

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self.cuts = 0

    async def process(self, data: RuntimeData) -> Any:
        if data.payload == "cuts":
            yield RuntimeData.text(f"{self.node_id} {self.cuts}")
        elif str(data.payload).startswith("long "):
            yield RuntimeData.text(f"{str(data.payload)[5:]}.0")
            gate = self.config.get("gate")
            while gate is None or not Path(gate).exists():
                await asyncio.sleep(0.002)
        else:
            yield data

    async def on_interrupt(self) -> None:
        self.cuts += 1
        if gate := self.config.get("gate"):
            Path(gate).unlink()


@register_node("t-ears")
class Ears(Base):
    """At ``"barge"`` it interrupts what its config names; says what became of that. Any other text it passes on."""

    async def process(self, data: RuntimeData) -> Any:
        if data.payload != "barge":
            return data
        try:
            await self.interrupt(**self.config["interrupt"])
        except (ValueError, TypeError) as error:
            return RuntimeData.text(f"{type(error).__name__}: {error}")
        return RuntimeData.text("silent")


@register_node("t-talk")
class Talk(Base):
    """Answers without end: the text with a number."""

    async def process(self, data: RuntimeData) -> Any:
        for number in itertools.count():
            yield RuntimeData.text(f"{data.payload} {number}")
            await asyncio.sleep(0.005)


@register_node("t-loud")
class Loud(Base):
    """At the first message that is loud it silences the node that its config names."""

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self.number = 0

    async def process(self, data: RuntimeData) -> Any:
        number, self.number = self.number, self.number + 1
        if abs(data.as_numpy()).max() > 0.01:
            await self.interrupt(from_node=self.config["silences"])
            yield RuntimeData.text(f"silenced at {number}")


@register_node("t-config")
class TellConfig(Base):
    async def process(self, data: RuntimeData) -> Any:
        import json

        facts = {
            "config": self.config,
            "cmdline": Path("/proc/self/cmdline").read_bytes().decode(errors="replace"),
            "environ": Path("/proc/self/environ").read_bytes().decode(errors="replace"),
            "fds": sorted(path.name for path in Path("/proc/self/fd").iterdir()),
        }
        return RuntimeData.text(json.dumps(facts))


@register_node("t-lines")
class Lines(Base):
    """Writes raw bytes to its stdout or stderr: hex in the text."""

    async def process(self, data: RuntimeData) -> Any:
        stream, _, raw = str(data.payload).partition(" ")
        left = memoryview(bytes.fromhex(raw))
        while left:
            left = left[os.write({"out": 1, "err": 2}[stream], left) :]
        return data


@register_node("t-emit")
class Emit(Base):
    """For each text ``"NAME TIMES"`` a task of its own emits ``"NAME.0"``, ``"NAME.1"``, ...; ``"NAME stop"`` ends it.

    In its config, ``early``: it emits in initialize(); ``beside``: process() gives that many texts as well.
    """

    async def initialize(self) -> None:
        if self.config.get("early"):
            await self.emit(RuntimeData.text("too early"))
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def process(self, data: RuntimeData) -> Any:
        name, _, times = str(data.payload).partition(" ")
        if times == "stop":
            for _ in range(10):  # whoever this message woke sleeps again
                await asyncio.sleep(0)
            self.tasks.pop(name).cancel()
            return
        self.tasks[name] = asyncio.create_task(self.say(name, int(times)))
        for number in range(self.config.get("beside", 0)):
            yield RuntimeData.text(f"process.{number}")

    async def say(self, name: str, times: int) -> None:
        for number in range(times):
            await self.emit({"output": RuntimeData.text(f"{name}.{number}")})

    async def finish(self) -> None:
        await asyncio.gather(*self.tasks.values())

    async def on_interrupt(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        self.tasks.clear()


@register_node("t-which-turn")
class WhichTurn(Base):
    """Says how often on_interrupt() was called before a message came.

    In the middle of a message it awaits; but one that ends in "busy" it only computes, and hears nothing.
    """

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        self.turn = 0

    async def process(self, data: RuntimeData) -> Any:
        said = f"{self.turn}: {data.payload}"
        yield RuntimeData.text(f"begun {said}")
        if said.endswith("busy"):
            until = time.perf_counter() + 0.001
            while time.perf_counter() < until:
                pass
            yield RuntimeData.text(said)
            return
        for _ in range(5):
            await asyncio.sleep(0.0001)
        yield RuntimeData.text(said)

    async def on_interrupt(self) -> None:
        await asyncio.sleep(0)
        self.turn += 1


@register_node("t-own-task")
class OwnTask(Base):
    """Cancels a task of its own and awaits it, where its config says."""

    async def initialize(self) -> None:
        self.task = asyncio.create_task(asyncio.sleep(3600))

    async def on_interrupt(self) -> None:
        if self.config["where"] == "on_interrupt":
            self.task.cancel()
            await self.task

    async def cleanup(self) -> None:
        self.task.cancel()
        if self.config["where"] == "cleanup":
            await self.task


@register_node("t-direct")
class Direct(Base):
    """Publishes on its output channel itself, then returns something too."""

    async def process(self, data: RuntimeData) -> Any:
        await self.output_channels["output"].publish_async(RuntimeData.text(f"direct {data.payload}"))
        return RuntimeData.text(f"returned {data.payload}")
