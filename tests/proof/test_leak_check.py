"""The check that tests leave nothing: it finds what they leave, and never blames them for another program's files."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SHARED_MEMORY = Path("/dev/shm")
OUR_NAME = "tests-of-remotemedia"

pytestmark = pytest.mark.skipif(not os.access(SHARED_MEMORY, os.W_OK), reason="there is no /dev/shm to leave files in")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """``run(test)``: exit code and output of a run of its own, with our conftest and this test; ``under`` a command."""
    for name in ("conftest.py", "holdings.py", "watchdog.py"):
        shutil.copy(TESTS / name, tmp_path)
    shutil.copy(TESTS.parent / "pyproject.toml", tmp_path)
    (tmp_path / "temporary").mkdir()

    def run(test: str, under: Sequence[str] = (), options: Sequence[str] = ()) -> tuple[int, str]:
        (tmp_path / "test_it.py").write_text(textwrap.dedent(test))
        # A run that is not part of this one: none of its processes is taken for one of ours.
        inherited = {name: value for name, value in os.environ.items() if name != "REMOTEMEDIA_TEST_RUN"}
        done = subprocess.run(
            [*under, sys.executable, "-m", "pytest", "-c", "pyproject.toml", *options, "test_it.py"],
            cwd=tmp_path,
            env={
                **inherited,
                "REMOTEMEDIA_TEST_NAME": OUR_NAME,
                "TMPDIR": str(tmp_path / "temporary"),
                "FOLDER": str(tmp_path),
            },
            capture_output=True,
            text=True,
        )
        assert list((tmp_path / "temporary").iterdir()) == []  # the run's own folder is gone
        return done.returncode, done.stdout + done.stderr

    return run


def test_what_a_worker_leaks_fails_the_run_that_it_is_part_of(run: Callable[..., tuple[int, str]]) -> None:
    code, output = run("import os\ndef test(): os.dup(1)", options=["--numprocesses=2"])
    assert code == 1
    assert "LEAKED over the whole run" in output
    assert re.search(r"gw\d: descriptor", output), output
    assert "child process" not in output  # the workers themselves are no leak


def test_a_worker_tells_what_is_no_unicode_as_well(run: Callable[..., tuple[int, str]]) -> None:
    code, output = run("def test(caplog): assert 'a' == chr(0xdc80)", options=["--numprocesses=2"])
    assert code == 1
    assert "1 failed" in output
    assert "INTERNALERROR" not in output


@pytest.fixture
def names() -> Iterator[Callable[[str], str]]:
    """``names(beginning)``: a file name in /dev/shm that nobody has; the file is removed at the end."""
    made: list[Path] = []

    def name(beginning: str) -> str:
        made.append(SHARED_MEMORY / f"{beginning}-{os.getpid()}-{len(made)}")
        return str(made[-1])

    yield name
    for path in made:
        path.unlink(missing_ok=True)


PLANTING = """
    import subprocess, tempfile

    def test_a_temporary_file(FIXTURE):
        tempfile.mkstemp(prefix="planted-1-")

    def test_that_of_a_process_that_it_started(FIXTURE):
        subprocess.run(["mktemp", "-d", "-t", "planted-2-XXXXXX"], check=True)

    def test_shared_memory_that_it_holds(FIXTURE):
        global held
        held = open(NAMES[0], "w")

    def test_shared_memory_that_a_process_of_its_own_holds(FIXTURE):
        # Nobody's child: only its environment tells whose it is.
        script = f"exec 3> {NAMES[1]}; exec 1>&-; read line < $FOLDER/fifo"
        subprocess.run(["sh", "-c", f"mkfifo $FOLDER/fifo; ({script}) &"], stdout=subprocess.PIPE)

    def test_shared_memory_of_our_name_that_nobody_holds(FIXTURE):
        open(NAMES[2], "w").close()
"""


@pytest.mark.parametrize("fixture", ["leak_check", "tmp_path"])
def test_what_is_planted_is_found(
    run: Callable[..., tuple[int, str]], names: Callable[[str], str], tmp_path: Path, fixture: str
) -> None:
    """By the fixture at the end of each test, and at the end of the run in any case."""
    shared = [names("planted-3"), names("planted-4"), names(f"{OUR_NAME}-planted-5")]
    code, said = run(PLANTING.replace("FIXTURE", fixture).replace("NAMES", repr(shared)))
    (tmp_path / "fifo").write_text("end\n")
    assert code == 1
    assert ("5 passed, 5 errors in" if fixture == "leak_check" else "5 passed in") in said, said
    found = said.partition("LEAKED over the whole run")[2]
    assert [f"planted-{number}-" in found for number in range(1, 6)] == [True] * 5, said


def test_what_nobody_holds_is_ours_where_nobody_else_is(
    run: Callable[..., tuple[int, str]], names: Callable[[str], str]
) -> None:
    """As in a container: who dies with a pool of processes leaves semaphores, which have a name like any other's."""
    alone = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    try:
        if subprocess.run([*alone, "true"], capture_output=True).returncode:
            pytest.skip("this user may not make a process namespace here (unshare --pid)")
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    name = names("sem.mp")
    code, said = run(f"def test_it(leak_check): open({name!r}, 'w').close()", under=alone)
    assert code == 1
    assert f"file {name}" in said


STRANGER = """
import os, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
connection, _ = listener.accept()
held = [open(path, "w") for path in sys.argv[2:]]
connection.sendall(b"made")
sys.stdin.read()  # until the run has ended
"""

WITH_A_STRANGER = """
    import os, socket
    def test_it(leak_check):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(os.environ["FOLDER"] + "/stranger")
            assert stranger.recv(4) == b"made"
            NOBODYS
"""


def test_files_of_others_are_not_ours(
    run: Callable[..., tuple[int, str]], names: Callable[[str], str], tmp_path: Path
) -> None:
    """Another program makes files while the run goes on: in /dev/shm, also of our name, and beside the run's folder."""
    beside = tmp_path / "remotemedia-of-another"
    unheld = names("psm_of-another")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "stranger"))
        listener.listen()
        environment = {name: value for name, value in os.environ.items() if name != "REMOTEMEDIA_TEST_RUN"}
        files = [names(f"{OUR_NAME}-of-another"), names("psm_held"), str(beside)]
        stranger = subprocess.Popen(
            [sys.executable, "-c", STRANGER, str(listener.fileno()), *files],
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,
            env=environment,
        )
        code, said = run(WITH_A_STRANGER.replace("NOBODYS", f"open({unheld!r}, 'w').close()"))
        stranger.communicate()
    assert (code, "LEAKED" in said, beside.exists()) == (0, False, True), said
