"""Nodes that write to their control socket what they like: the orchestrator lives, and only their own session ends."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remotemedia.core.multiprocess.process.control import ControlSocket
from remotemedia.core.multiprocessing import (
    MultiprocessConfig,
    MultiprocessError,
    MultiprocessExecutor,
    Pipeline,
)

pytestmark = [
    pytest.mark.usefixtures("leak_check", "security_nodes"),
    pytest.mark.watchdog(1200),
    pytest.mark.promise(
        "security",
        "whatever a node says on its control socket: an error that names it ends its session, and no other",
        "messages early, late, doubled, with missing, wrong and huge fields, with descriptors, cut, endless, random",
    ),
]

LONG = os.environ.get("REMOTEMEDIA_PROMISES") == "long"
AT_ONCE = 4
PATIENCE_SECS = 1100
NO_SENSE = r"^MultiprocessError: node 'n0' sent a control message that makes no sense: "


ALWAYS_WRONG: dict[str, tuple[str, str]] = {
    "no JSON": ("say(b'\\0\\0\\0\\3abc')", "Expecting value"),
    "nothing": ("say(bytes(4))", "Expecting value"),
    "no text": ("say(b'\\0\\0\\0\\2\\xff\\xfe')", "Expecting value"),
    "no object": ("say(b'\\0\\0\\0\\2[]')", "an object with a type"),
    "no type": ("say(words(status='loading'))", "an object with a type"),
    "a type of another type": ("say(words(type=['ready']))", "an object with a type"),
    "an unknown type": ("say(words(type='hello'))", "'hello'"),
    "an order": ("say(words(type='stop', abort=True))", "'stop'"),
    "4 GiB": ("say(b'\\xff\\xff\\xff\\xff')", "claims 4294967295 bytes"),
    "a million bytes": ("say(error(traceback='x' * 1_000_000))", "claims 1000"),
    "descriptors it did not send": ("say(words(type='ready', fds=3))", "without its descriptors"),
    "fewer than no descriptors": ("say(words(type='ready', fds=-1))", "without its descriptors"),
    "a number beyond all": ("say(b'\\0\\0\\x17\\x70' + b'9' * 6000)", "limit"),
    "here again": ("say(words(type='here'))", "'here', but .* was due"),
    "half a length": ("say(b'\\0\\0')", "Expecting value"),
    "descriptors, and no words": ("[say(b'\\0', [2] * 253) for _ in range(9)]", "Expecting value"),
}

IN_INITIALIZE: dict[str, tuple[str, str | None]] = {
    "ready, too early": ("say(words(type='ready'))", "'ready', but .* was due"),
    "unconnected, twice": ("say(words(type='unconnected') * 2)", "'unconnected', but .* was due"),
    "an error before it is ready": ("say(error())", "'error' from a node that is loading"),
    "interrupted before it is ready": ("say(words(type='interrupted', epoch=0))", "'interrupted' from a node that"),
    "progress, missing": ("say(words(type='progress'))", "progress"),
    "progress of no number": ("say(progress(progress=[1]))", "TypeError"),
    "progress that is not": ("say(progress(progress=float('nan')))", "progress nan"),
    "progress beyond the end": ("say(progress(progress=1e308))", r"progress 1e\+308"),
    "progress without end": ("say(progress(progress=10 ** 400))", "OverflowError"),
    "a status of its own": ("say(progress(status='ready'))", "status 'ready'"),
    "a status of another type": ("say(progress(status={}))", "status {}"),
    "failed, without words": ("say(words(type='failed'))", "'failed' without its reason, traceback, out_of_memory"),
    "progress in the name of another": ("say(progress(node_id='n1', node='n1', message=7, type='progress'))", None),
    "descriptors with it": ("[say(progress(), [2] * 253) for _ in range(9)]", None),
}

IN_PROCESS: dict[str, tuple[str, str | None]] = {
    **ALWAYS_WRONG,
    "ready again": ("say(words(type='ready'))", "'ready', but nothing more was due"),
    "unconnected, too late": ("say(words(type='unconnected'))", "'unconnected', but nothing more was due"),
    "failed, too late": ("say(error(type='failed'))", "'failed' from a node that is ready"),
    "an error, without words": ("say(words(type='error'))", "'error' without its reason, traceback"),
    "an error of no message": ("say(error(sequence='first'))", "ValueError"),
    "an error without end": ("say(error(sequence=float('inf')))", "OverflowError"),
    "interrupted, no number": ("say(words(type='interrupted', epoch=None))", "TypeError"),
    "interrupted, to come": ("[say(words(type='interrupted', epoch=e)) for e in (2, 3, -1, 2**64, 2**32 + 1)]", None),
    "progress, too late": ("say(progress(progress=-1))", None),
    "an error in the name of another": ("say(error(node_id='n1', port=3, traceback=[{}]))", None),
    "descriptors with it": ("[say(error(), [2] * 253) for _ in range(9)]", None),
}


class Stage:
    """An executor with a bystander, and sessions of one node each that mean harm."""

    def __init__(self, px: Any, ledger: Any, **config: Any) -> None:
        self.px = px
        self.ledger = ledger
        self.executor = MultiprocessExecutor()
        self.config = MultiprocessConfig(**config)  # of those that mean harm
        self.slots = asyncio.Semaphore(AT_ONCE)
        self.blamed: set[str] = set()

    async def __aenter__(self) -> Stage:
        await self.executor.__aenter__()
        pipeline = Pipeline().add_node("s-echo", "n0").add_node("s-echo", "n1").connect("n0", "out", "n1", "in")
        self.bystander = await self.executor.create_session("bystander", pipeline)
        self.held = self.px.held()
        return self

    async def __aexit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                await self.px.works(self.bystander)
                await asyncio.sleep(0)  # a turn of the event loop, which holds what woke this task: a session's error
                assert self.px.held() == self.held
        finally:
            await self.executor.__aexit__(*error)

    async def fate(self, name: str, *, interrupts: bool = True, **config: Any) -> str:
        """The error that a session of one forger ends with; none when it works."""
        async with self.slots:
            try:
                pipeline = Pipeline().add_node("s-forger", "n0", config)
                session = await self.executor.create_session(name, pipeline, self.config)
            except MultiprocessError as error:
                return f"{type(error).__name__}: {error}"
            finally:
                self.ledger.count("sessions")
            session.on_error(lambda error: self.blamed.add(error.node_id))
            try:
                await session.send("n0", self.px.text("now"))
                await session.receive("n0")
                if interrupts:
                    await session.interrupt()  # answered on the same socket: all that was said before has been heard
                await session.send("n0", self.px.text("go on"))
                await session.receive("n0")
            except MultiprocessError as error:
                return f"{type(error).__name__}: {error}"
            finally:
                await self.px.works(self.bystander)
                await self.executor.terminate_session(name)
            return ""


@pytest.mark.parametrize("where", ["initialize", "process"])
def test_forged(px: Any, ledger: Any, where: str) -> None:
    table = IN_INITIALIZE if where == "initialize" else IN_PROCESS

    async def main() -> None:
        async with Stage(px, ledger) as stage:
            fates = await asyncio.gather(*(stage.fate(what, **{where: code}) for what, (code, _) in table.items()))
        for (what, (_, why)), error in zip(table.items(), fates, strict=True):
            if why is None:
                assert error == "", (what, error)
            else:
                assert re.search(NO_SENSE + ".*" + why, error, re.DOTALL), (what, error)
                assert len(error) < 1000, what
        assert stage.blamed <= {"n0"}

    px.run(main(), PATIENCE_SECS)


def test_half_a_message_and_no_more(px: Any, ledger: Any) -> None:
    async def main() -> None:
        async with Stage(px, ledger, init_timeout_secs=1.5) as stage:
            for code in ("say(progress()[:3])", "say(progress()[:20])", "say((500_000).to_bytes(4) + b'x' * 400_000)"):
                error = await stage.fate("s", initialize=code, waits=True)
                assert re.search(r"not ready within 1.5 s .*'n0'", error), (code, error)

    px.run(main(), PATIENCE_SECS)


def test_a_node_that_hangs_up(px: Any, ledger: Any) -> None:
    """One that could not hear or be heard any more would hold an interruption up for ever."""

    async def main() -> None:
        async with Stage(px, ledger) as stage:
            error = await stage.fate("s", process="hang_up(socket.SHUT_WR)")
            assert error.startswith("ProcessCrashError: Process n0 crashed with code 137 (killed by SIGKILL): ")
            assert "it had closed its control socket" in error
            error = await stage.fate("s", process="hang_up(socket.SHUT_RDWR)")
            assert error.startswith("ProcessCrashError: Process n0 crashed with code ")  # or it ended by itself

    px.run(main(), PATIENCE_SECS)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


FLOODS = {
    "progress": "say(progress(message='x' * 1000) * {count})",
    "errors": "say(error(traceback='x' * 1000) * {count})",
    "interrupted": "say(words(type='interrupted', epoch=7, more='x' * 1000) * {count})",
}


@pytest.mark.parametrize("what", FLOODS)
def test_no_end_of_words(px: Any, ledger: Any, scale: Any, what: str) -> None:
    """They make sense, one by one. The others still have their turn, and nothing is kept."""
    count = scale(50_000, 300_000)
    where = "initialize" if what == "progress" else "process"

    async def main() -> None:
        async with Stage(px, ledger, init_timeout_secs=600) as stage:
            flood = asyncio.create_task(stage.fate("flood", **{where: FLOODS[what].format(count=count)}))
            events = stage.executor.events(backlog=100)  # of a listener that never comes to listen
            before = most = resident_bytes()
            while not flood.done():
                await px.works(stage.bystander)
                await asyncio.sleep(0)
                ledger.count("messages of others meanwhile")
                most = max(most, resident_bytes())
            assert await flood == ""
            assert most - before < 40_000_000
            events.close()
            ledger.count("words", count)

    px.run(main(), PATIENCE_SECS)


def test_endless_nonsense_is_not_read_on(px: Any, ledger: Any) -> None:
    talks = "say_on_and_on_beside(b'\\xff' * 1_000_000)"

    async def main() -> None:
        async with Stage(px, ledger) as stage:
            for where in ("initialize", "process"):
                assert re.search(NO_SENSE, await stage.fate("s", **{where: talks}))

    px.run(main(), PATIENCE_SECS)


def test_what_a_node_leaves_behind_talks_on(px: Any, ledger: Any) -> None:
    """Its last words are heard, but not for ever."""

    async def main() -> None:
        async with Stage(px, ledger) as stage:
            error = await stage.fate("s", process="leave_somebody_who_talks_on(progress() * 500)")
            assert "Process n0 crashed with code 7" in error
            pid = int(error.splitlines()[-1])
            await px.until(lambda: not px.lives(pid))  # nobody listens any more

    px.run(main(), PATIENCE_SECS)


TYPES = ["here", "unconnected", "ready", "progress", "failed", "error", "interrupted", "stop", "connect", "", None]
FIELDS = ["status", "progress", "message", "reason", "traceback", "out_of_memory", "sequence", "port", "epoch", "fds"]
VALUES = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    10**30,
    0.5,
    1e308,
    "",
    "loading",
    "ready",
    "\ud800",
    "9",
    [],
    [0],
    {},
    {"a": []},
]


def random_words(random: Random) -> str:
    """Python that a forger says."""
    parts = []
    for _ in range(random.randint(1, 5)):
        message = {name: random.choice(VALUES) for name in random.sample(FIELDS, random.randint(0, len(FIELDS)))}
        whole = f"words(**{ {'type': random.choice(TYPES), **message}!r})"
        parts.append(random.choice([whole, whole, f"{whole}[:{random.randint(1, 60)}]", repr(random.randbytes(9))]))
    return f"say({' + '.join(parts)})"


def test_random_words(px: Any, ledger: Any, scale: Any) -> None:
    seeds = map(Random, range(scale(12, 150)))
    said = [(random.choice(["initialize", "process"]), random_words(random)) for random in seeds]

    async def main() -> None:
        async with Stage(px, ledger, init_timeout_secs=5) as stage:
            calls = [stage.fate(f"s{n}", interrupts=False, **{where: code}) for n, (where, code) in enumerate(said)]
            for error, words in zip(await asyncio.gather(*calls), said, strict=True):
                assert not error or "'n0'" in error or "Node n0" in error, (words, error)

    px.run(main(), PATIENCE_SECS)


@settings(max_examples=5_000 if LONG else 300, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=100) | st.just(b'\0\0\0\x0f{"type": "x"}  '), max_size=8), st.booleans())
def test_random_bytes(ledger: Any, chunks: list[bytes], with_descriptors: bool) -> None:
    """Only objects with a type come through; the first thing that is none is the end; no descriptor does."""
    heard: list[Any] = []
    ends: list[Exception | None] = []
    ours, theirs = socket.socketpair()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    async def main() -> None:
        control = ControlSocket(ours, to_node=True)
        control.attach(asyncio.get_running_loop(), lambda *message: heard.append(message), ends.append)
        held = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for chunk in chunks:
            socket.send_fds(theirs, [chunk], [theirs.fileno()] * (100 if with_descriptors and chunk else 0))
            control.drain()
        assert len(os.listdir("/proc/self/fd")) == held  # noqa: PTH208
        theirs.close()
        control.drain()
        await asyncio.sleep(0)
        control.close()

    asyncio.run(main())
    assert all(isinstance(message["type"], str) and fds == [] for message, fds in heard)
    assert len(ends) <= 1
    assert len(os.listdir("/proc/self/fd")) == before - 2  # noqa: PTH208
    ledger.count("random strings")


@pytest.mark.watchdog(60)
def test_last_words_have_an_end(ledger: Any) -> None:
    """Whoever has a copy of the socket may be quicker than its reader: here, each word heard brings the next."""
    word = b'\0\0\0\x0d{"type": "x"}'
    ours, theirs = socket.socketpair()

    async def main() -> None:
        control = ControlSocket(ours, to_node=True)
        control.attach(
            asyncio.get_running_loop(), lambda message, _: ledger.count("words", bool(theirs.send(word))), print
        )
        theirs.send(word)
        control.drain()
        control.close()

    asyncio.run(main())
    theirs.close()


@pytest.mark.parametrize(
    "says",
    [
        "nonsense",
        pytest.param("[" * 100_000, id="deep"),
        '{"type": "here", "fds": 3}',
        '{"type": "hello"}',
        '{"type": "progress", "status": "loading", "progress": 1' + "0" * 400 + ', "message": null}',
        '{"type": "interrupted", "epoch": 1e999}',
    ],
)
def test_a_node_that_talks_nonsense_takes_the_session_down(px: Any, says: str) -> None:
    async def main() -> None:
        async with px.session(("t-liar", {"says": says}), "t-echo") as session:
            await session.interrupt()

    with pytest.raises(MultiprocessError, match="node 'n0' sent a control message that makes no sense"):
        px.run(main(), patience_secs=20)
