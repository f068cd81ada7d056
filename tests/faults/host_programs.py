"""Programs that hold a session: each brings it into one phase of its life, tells of its processes, and stays there.

Run in an interpreter of their own by ``run(phase, say)``; reached in tests through the fixture ``host``.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import session_support as px

from remotemedia.core.multiprocessing import InitProgress, Session

FOREVER_SECS = 3600
GRANDCHILD = {"grandchild": True}
IN_EPOLL = {"x86_64": ("232", "281"), "aarch64": ("22",)}[platform.machine()]


class Host:
    """What the test hears: pids, of nodes and of what they started."""

    def __init__(self, say: Callable[..., None]) -> None:
        self.say = say
        self.grandchildren: list[int] = []

    def hear(self, progress: InitProgress) -> None:
        if (pid := px.grandchild(progress.message)) is not None:
            self.grandchildren.append(pid)

    def tell(self, session: Session) -> None:
        self.say(*session.pids.values(), *self.grandchildren)

    async def stay(self, session: Session) -> None:
        self.tell(session)
        await asyncio.sleep(FOREVER_SECS)

    async def running(self, *nodes: Any, **config: Any) -> Session:
        session = px.session(*nodes, **{"cleanup_grace_period_secs": 0.2, **config})
        await session.initialize(self.hear)
        await session.start()
        return session


async def starting(host: Host) -> None:
    session = px.session("t-echo", "t-echo")

    def hear(progress: InitProgress) -> None:
        if len(session.pids) == 2 and progress.status == "starting":
            host.tell(session)

    await session.initialize(hear)
    await asyncio.sleep(FOREVER_SECS)


async def unheard(host: Host) -> None:
    """The nodes wait to be told what they are: whoever would tell them is held up."""
    session = px.session("t-echo", "t-echo")

    def hear(progress: InitProgress) -> None:
        if len(session.pids) == 2:
            host.tell(session)
            time.sleep(FOREVER_SECS)

    await session.initialize(hear)


async def loading(host: Host) -> None:
    session = px.session(
        ("t-init", {"how": "wait", **GRANDCHILD}),
        ("t-init", {"how": "stick", **GRANDCHILD}),
        cleanup_grace_period_secs=0.2,
    )

    def hear(progress: InitProgress) -> None:
        host.hear(progress)
        reading.update([progress.node_id] if progress.message == "reading weights" else [])
        if len(reading) == 2:
            host.tell(session)

    reading: set[str] = set()
    await session.initialize(hear)


async def ready(host: Host) -> None:
    session = px.session(("t-echo", GRANDCHILD), "t-echo")
    await session.initialize(host.hear)
    await host.stay(session)


async def idle(host: Host) -> None:
    await host.stay(await host.running(*[("t-echo", GRANDCHILD)] * 3))


async def streaming(host: Host) -> None:
    async with px.session("t-work", "t-echo") as session:

        async def feed() -> None:
            while True:
                await session.send("n0", px.text("x"))

        async def drain() -> None:
            for number in range(1 << 30):
                await session.receive("n1")
                if number == 5:
                    host.tell(session)

        await asyncio.gather(feed(), drain())


async def full(host: Host) -> None:
    """Every channel is full, every node waits for room, and so does a send."""
    session = await host.running(("t-echo", GRANDCHILD), "t-echo", channel_capacity=1)
    sending = asyncio.create_task(px.send_all(session, "n0", ["x"] * 9, end=False))
    # One in each of three channels and in the hands of each node, and one that waits.
    await px.until(lambda: session.get_channel_stats("session_to_n0").message_count == 5)
    await px.until(lambda: all(stats.current_occupancy == 1 for stats in session.channel_stats()))
    host.tell(session)
    await sending


async def receiving(host: Host) -> None:
    session = await host.running(("t-echo", GRANDCHILD), "t-echo")
    await px.works(session)
    host.tell(session)
    await session.receive("n1")


async def stuck(session: Session) -> None:
    await session.send("n0", px.text("stick"))
    await session.receive("n1")
    await px.until(lambda: all(map(px.sticks, session.pids.values())))


async def stuck_in_c_code(host: Host) -> None:
    session = await host.running(("t-do", GRANDCHILD), "t-deaf")
    await stuck(session)
    await host.stay(session)


async def stopped(host: Host) -> None:
    session = await host.running(("t-echo", GRANDCHILD), "t-echo")
    for pid in session.pids.values():
        os.kill(pid, signal.SIGSTOP)
    await px.until(lambda: all(map(px.stopped, session.pids.values())))
    await host.stay(session)


async def interrupting(host: Host) -> None:
    session = await host.running(("t-do", GRANDCHILD), "t-do")
    await stuck(session)
    interrupt = asyncio.create_task(session.interrupt())
    await asyncio.sleep(0)
    host.tell(session)
    await interrupt


SLOW_TO_STOP = ("t-slow-cleanup", GRANDCHILD), "t-echo"
NO_HURRY = {"cleanup_grace_period_secs": FOREVER_SECS}


async def stopping(host: Host) -> None:
    session = await host.running(*SLOW_TO_STOP, **NO_HURRY)
    stop = asyncio.create_task(session.stop())
    await px.until(lambda: "n1" not in session.pids)
    host.tell(session)
    await stop


def tell_at_rest(host: Host, session: Session) -> None:
    """From a thread, once the event loop sleeps: asyncio logs what is raised in a callback, and goes on."""
    while Path(f"/proc/self/task/{os.getpid()}/syscall").read_text().split()[0] not in IN_EPOLL:
        os.sched_yield()
    host.tell(session)


def tell_when_stopping(host: Host, session: Session) -> None:
    if session.pids and "n1" not in session.pids:
        threading.Thread(target=tell_at_rest, args=(host, session), daemon=True).start()
    else:
        asyncio.get_running_loop().call_later(0.002, tell_when_stopping, host, session)


async def leaving(host: Host) -> None:
    """At the end of a context manager, which takes its time."""
    async with px.session(*SLOW_TO_STOP, **NO_HURRY) as session:
        tell_when_stopping(host, session)


async def staying(host: Host) -> None:
    """In a context manager that will take its time to end; tells when it has come to that, too."""
    async with px.session(*SLOW_TO_STOP, **NO_HURRY) as session:
        tell_when_stopping(host, session)
        await host.stay(session)


def run(phase: str, say: Callable[..., None]) -> None:
    """In the phase that the function of that name describes, until a signal ends it."""

    def fail(*_: object) -> NoReturn:
        raise RuntimeError("the program's own")

    def leave(*_: object) -> NoReturn:
        raise SystemExit(7)

    signal.signal(signal.SIGUSR1, lambda *_: os._exit(5))
    signal.signal(signal.SIGUSR2, fail)
    signal.signal(signal.SIGALRM, leave)
    asyncio.run(globals()[phase](Host(say)))
