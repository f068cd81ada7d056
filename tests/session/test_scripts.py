"""Programs without a main guard, run again in their nodes' processes: how that run ends, and what it does again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

HEAD = """
import asyncio, os, sys, threading, time
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import *

@register_node("echo")
class Echo(MultiprocessNode):
    async def process(self, data):
        return RuntimeData.text(f"{data.payload} {LATE}")
    async def initialize(self):
        while "left" in [thread.name for thread in threading.enumerate()]:
            await asyncio.sleep(0.01)
    async def cleanup(self): pass

LATE = "early"

async def main(secs=30):
    config = MultiprocessConfig(init_timeout_secs=secs)
    async with Session("s", Pipeline().add_node("echo", "e"), config) as session:
        await session.send("e", RuntimeData.text("hi"))
        print((await session.receive("e")).payload, flush=True)

def go():
    try:
        asyncio.run(main())
    finally:
        done.set()

done = threading.Event()
"""
SERVER = """
import http.server
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
def go():
    try:
        asyncio.run(main())
    finally:
        server.shutdown()
threading.Thread(target=go).start()
server.serve_forever()
server.server_close()
"""
IN_A_LOOP = """
threading.Thread(target=go, daemon=True).start()
while not done.is_set():
    try:
        time.sleep(0.01)
    except:
        pass
"""
NESTED = """
noted = []
def attempt():
    try:
        try:
            asyncio.run(main())
        except BaseException as error:
            noted.append(error)
            raise RuntimeError from error
    finally:
        noted.append("attempt over")
def insist():
    while True:
        try:
            return attempt()
        except BaseException:
            continue
insist()
"""
ENDS = {
    "the main thread waits": "threading.Thread(target=go, daemon=True).start()\ndone.wait()",
    "the main thread serves": SERVER,
    "the main thread swallows": IN_A_LOOP,
    "the main thread goes on to define what is needed": (
        "threading.Thread(target=go, daemon=True).start()\ntime.sleep(0.3)\nLATE = 'late'\ndone.wait()"
    ),
    "a retry": "while True:\n    try:\n        asyncio.run(main())\n        break\n    except:\n        pass",
    "a retry in a thread": (
        "def insist():\n    while not done.is_set():\n        try:\n            go()\n"
        "        except:\n            pass\n"
        "threading.Thread(target=insist).start()\ndone.wait()"
    ),
    "a retry of a retry": NESTED,
    "swallowed, and on it goes": (
        "try:\n    asyncio.run(main())\nexcept BaseException:\n    pass\n"
        "if __name__ != '__main__':\n    threading.Event().wait()"
    ),
    "the main thread reads what nodes have none of": (
        "threading.Thread(target=go, daemon=True).start()\nsys.stdin.read()\ndone.wait()"
    ),
    "the main thread waits in an event loop of its own": (
        "async def watch():\n    threading.Thread(target=go).start()\n    while not done.is_set():\n"
        "        await asyncio.sleep(0.01)\nasyncio.run(watch())"
    ),
    "a thread that is left behind": (
        "def beat():\n    while not done.is_set():\n        time.sleep(0.01)\n"
        "threading.Thread(target=beat, name='left').start()\ngo()"
    ),
}


@pytest.fixture
def script(px: Any, tmp_path: Path) -> Any:
    """Runs a script in a folder of its own; what it printed. Its stderr, where its nodes' words go, has to be empty."""

    def run(*parts: str) -> str:
        (tmp_path / "client.py").write_text("\n".join((HEAD, *parts)))
        done = subprocess.run(
            [sys.executable, "client.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": px.REPOSITORY, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=px.PATIENCE_SECS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.mark.parametrize("body", ENDS.values(), ids=ENDS)
def test_a_script_is_run_up_to_its_session_wherever_that_is(script: Any, body: str) -> None:
    printed = script(body).splitlines()
    assert printed[0] == ("hi late" if "LATE" in body else "hi early")


def test_a_session_that_the_script_starts_when_it_has_ended_is_not_started_by_its_nodes(
    script: Any, tmp_path: Path
) -> None:
    """By a thread of a thread: neither was in the script's own code when the script ended."""
    body = """
def later():
    with open("later.txt", "a") as file:
        print(__name__, file=file)
    threading.Thread(target=go).start()
threading.Timer(0.2, later).start()
if __name__ == "__main__":
    done.wait()
"""
    before = """
async def main(run=main):
    await run()
    open("session.txt", "a").write(__name__ + " ")

async def initialize(self):
    while not os.path.exists("later.txt") or "__mp_main__" not in open("later.txt").read():
        await asyncio.sleep(0.01)
Echo.initialize = initialize
"""
    assert script(before, body) == "hi early\n"
    assert (tmp_path / "session.txt").read_text() == "__main__ "


def test_a_script_that_cannot_be_ended_says_where_it_is(script: Any, tmp_path: Path) -> None:
    """It never comes to a session: nobody can know that it does not go on to something that the node needs."""
    body = """
if __name__ != "__main__":
    threading.Event().wait()
try:
    asyncio.run(main(secs=4))
except InitializationTimeout as error:
    print(error)
"""
    line = HEAD.count("\n") + 4
    assert script(body) == (
        "not ready within 4 s (init_timeout_secs): 'e' (loading, 0 %, its script is still running, at "
        f"{tmp_path}/client.py:{line}: code that must not run in a node belongs under `if __name__ == '__main__':`)\n"
    )


def test_a_module_that_is_slow_to_import_is_not_called_a_script(script: Any, tmp_path: Path) -> None:
    """It belongs to the node: a guard would be no help."""
    (tmp_path / "slow.py").write_text(
        "import os, threading\nif os.path.exists('imported'):\n    threading.Event().wait()\n"
        "from remotemedia.core.multiprocessing import MultiprocessNode, register_node\n"
        "@register_node('slow')\nclass Slow(MultiprocessNode):\n    def process(self, data): pass\n"
    )
    body = """
import slow
open("imported", "w").close()
async def late():
    pipeline = Pipeline().add_node("slow", "e")
    async with Session("s", pipeline, MultiprocessConfig(init_timeout_secs=5)):
        pass
try:
    asyncio.run(late())
except InitializationTimeout as error:
    print(error)
"""
    assert script(body) == (
        "not ready within 5 s (init_timeout_secs): 'e' (loading, 0 %, its module is still being imported, at "
        f"{tmp_path}/slow.py:3)\n"
    )


def test_a_class_that_comes_after_the_first_session_is_told_why_it_is_not_there(script: Any) -> None:
    body = """
asyncio.run(main())

@register_node("second")
class Second(Echo): pass

async def second():
    async with Session("t", Pipeline().add_node("second", "e")): pass
try:
    asyncio.run(second())
except NodeInitializationError as error:
    print(error.remote_traceback)
"""
    printed = script(body)
    assert "has no class Second (node type 'second')" in printed
    assert "it is run again up to where it starts its first session" in printed


AGAIN = """
import atexit, logging, pathlib, shutil, socket, tempfile, weakref
logging.basicConfig(filename="app.log", filemode="w", level=logging.WARNING)
pathlib.Path("work").mkdir(exist_ok=True)
pathlib.Path("work/old").write_text("old")
os.replace("work/old", "work/new")
os.remove("work/new")
busy = socket.socket()
busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
busy.bind(("127.0.0.1", TAKEN))
free = socket.socket()
free.bind(("127.0.0.1", 0))
open(os.devnull, "w").close()
with tempfile.TemporaryDirectory() as folder, open(folder + "/own", "w"):
    pass
atexit.register(shutil.rmtree, "work", True)
finalizer = weakref.finalize(Echo, open, "finalized.txt", "a")
@atexit.register
def leave():
    with open("left.txt", "a") as file:
        file.write(__name__)
go()
asyncio.run(main())
print(os.path.isdir("work"))
"""


def test_what_a_script_does_again_is_told_once_and_its_exit_functions_are_not_its_nodes(
    script: Any, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert script(AGAIN.replace("TAKEN", str(port))) == "hi early\nhi early\nTrue\n"
    assert not (tmp_path / "work").exists(), "the program's own exit function has run"
    assert (tmp_path / "left.txt").read_text() == "__main__"
    line = HEAD.count("\n") + 4
    # The second session's: its nodes have emptied the file again.
    assert (tmp_path / "app.log").read_text().lstrip("\0") == (
        f"WARNING:remotemedia.session:{tmp_path}/client.py is run again in each node's process to find its classes, "
        f"up to where it starts a session, and did this again: line {line} opened for writing '{tmp_path}/app.log'; "
        f"line {line + 2} opened for writing 'work/old'; line {line + 3} renamed 'work/old'; line {line + 4} deleted "
        f"'work/new'; line {line + 7} listened on '127.0.0.1:{port}'. Code that must run only once belongs under "
        "`if __name__ == '__main__':`\n"
    )


def test_an_error_of_the_main_thread_is_none_of_the_node_that_a_thread_starts(script: Any, tmp_path: Path) -> None:
    """The program has bound the name already, as it has the port of its web server, and the script cannot again."""
    body = """
import logging
logging.basicConfig(filename="app.log", filemode="a")
threading.Thread(target=go, daemon=True).start()
listening = socket.socket(socket.AF_UNIX)
listening.bind("taken")
done.wait()
"""
    assert script("import socket", body) == "hi early\n"
    warning = (tmp_path / "app.log").read_text()
    assert "listened on 'taken', and failed (OSError: [Errno 98] Address already in use)" in warning
    assert "`if __name__ == '__main__':`" in warning


def test_a_stop_that_comes_after_the_end_of_the_run_does_not_replace_its_error(script: Any, tmp_path: Path) -> None:
    """The thread starts its session while the error of the main thread is being recorded."""
    body = """
import logging, signal
import remotemedia.core.multiprocess.classes.side_effects as effects
logging.basicConfig(filename="app.log", filemode="a")
ended = threading.Event()
recorded = effects.SideEffects.failed

def record(self, error):
    stop = signal.getsignal(signal.SIGURG)
    read, write = os.pipe()

    def noted(*call):
        os.write(write, b"x")
        stop(*call)

    signal.signal(signal.SIGURG, noted)
    ended.set()
    os.read(read, 1)  # until the stop of this thread has come
    signal.signal(signal.SIGURG, stop)
    recorded(self, error)

effects.SideEffects.failed = record

def start():
    ended.wait()
    go()

threading.Thread(target=start, daemon=True).start()
if __name__ != "__main__":
    raise ValueError("not again")
ended.set()
done.wait()
"""
    assert script(body) == "hi early\n"
    assert "failed (ValueError: not again)" in (tmp_path / "app.log").read_text()


def test_an_error_of_a_script_that_starts_no_thread_is_the_nodes(script: Any) -> None:
    body = """
if __name__ != "__main__":
    raise ValueError("not again")
try:
    go()
except NodeInitializationError as error:
    print(error.reason)
"""
    assert script(body) == "ValueError: not again\n"


def test_what_threads_of_a_module_still_have_to_do_is_done(script: Any, tmp_path: Path) -> None:
    (tmp_path / "pooled.py").write_text(
        "import concurrent.futures, time\n"
        "from remotemedia.core.multiprocessing import MultiprocessNode, register_node\n"
        "pool = concurrent.futures.ThreadPoolExecutor(1)\n"
        "pool.submit(int).result()\n"
        "def late():\n    time.sleep(0.1)\n    open('late.txt', 'w').close()\n"
        "@register_node('pooled')\nclass Pooled(MultiprocessNode):\n    def process(self, data): pass\n"
        "    def cleanup(self): pool.submit(late)\n"
    )
    body = """
import pooled
async def pool():
    async with Session("s", Pipeline().add_node("pooled", "e")):
        pass
    print(os.path.exists("late.txt"))
asyncio.run(pool())
"""
    assert script(body) == "True\n"


def test_imports_are_no_side_effects_and_modules_keep_their_exit_functions(script: Any, tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(
        "import atexit, os\nopen('cache.txt', 'w').close()\n"
        "atexit.register(lambda: open('exits.txt', 'a').write(f'{os.getpid()} '))\n"
    )
    script("import tools", "go()")
    assert len((tmp_path / "exits.txt").read_text().split()) == 2
