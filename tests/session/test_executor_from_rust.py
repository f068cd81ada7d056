"""docs/from-rust.md: each row runs, in order, as one program; and no name of the Rust interface is without a row."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocess.classes import registry

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "from-rust.md"

# The calls, types and fields of the contract's Rust, without the language's own (Arc, clone); its commands, and the
# errors that its guide shows.
NAMES = """
    add_node args audio bind_publisher bind_subscriber build builder cleanup code connect connect_nodes create
    create_channel create_publisher create_session create_subscriber destroy_channel emit env execute_node from_secs
    get_channel_stats get_metrics get_status handle_process_exit history_size id initialize interval is_alive
    is_node_ready json max_loaned_samples max_publishers max_subscribers monitor_processes new on_process_crash piped
    process_group publish_subscribe publisher queue_capacity receive_output register_executor send_input service_builder
    setup_event_monitoring setup_node_channels shutdown size sleep spawn spawn_node spawn_node_process start stderr
    stdout subscriber terminate_process terminate_session tick try_wait validate_pipeline wait_for_initialization
    with_executor

    ChannelError ChannelHandle ChannelMetrics ChannelRegistry ChannelStats Command Config Custom Duration Error EventBus
    ExecutorError ExitReason ExitStatus Initializing InitTimeout Killed Multiprocess MultiprocessConfig
    MultiprocessError MultiprocessExecutor MultiprocessHandle Node NodeConfig NodeContext NodeExecutor NodeHandle Normal
    PathBuf Pipeline PipelineConfig PipelineTerminated ProcessCrashed ProcessError ProcessEvent ProcessExited
    ProcessHandle ProcessManager ProcessStatus Publisher Ready ResourceLimit Runtime RuntimeConfig RuntimeData
    SessionHandle SessionNotFound SessionState SessionStatus SpawnConfig SpawnError Stdio Subscriber Terminating

    bytes_transferred capacity channel_capacity channel_registry channels child config connections context created_at
    current_occupancy enable_backpressure environment event_bus executor exit_code from_node from_port init_timeout_secs
    inputs iox_node max_processes_per_session memory_mb message_count monitor_handle name node_id node_processes
    node_type nodes outputs pid pipeline process_count process_id process_manager processes publishers python_executable
    reason service session_id sessions started_at stats status subscribers timestamp to_node to_port

    cargo pip ProcessSpawnError ChannelFullError ProcessCrashError
"""


@dataclass
class Row:
    line: int
    rust: str
    python: str
    raised_by: str | None

    def __str__(self) -> str:
        return f"{PAGE.name}:{self.line}: {self.raised_by or self.python}"


def code_of(cell: str) -> str:
    """Of a cell that is one code span."""
    match = re.fullmatch(r"`([^`]+)`", cell)
    assert match, f"no single code span: {cell}"
    return match[1]


def rows() -> list[Row]:
    found: list[Row] = []
    header: list[str] = []
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        if not line.startswith("|"):
            header = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not header:
            header = cells
        elif cells[0] != "---":
            assert len(cells) == len(header), f"{PAGE.name}:{number}: {len(cells)} cells"
            raised_by = code_of(cells[2]) if header[2:3] == ["raised by, for one"] else None
            found.append(Row(number, cells[0], code_of(cells[1]), raised_by))
    return found


def is_command(row: Row) -> bool:
    return row.python.startswith(("make ", "pip "))


async def run(code: str, scope: dict[str, Any]) -> None:
    """Runs it as a cell of a notebook, and fails if one of its expressions is False."""
    for statement in ast.parse(code).body:
        is_expression = isinstance(statement, ast.Expr)
        tree = ast.Expression(statement.value) if is_expression else ast.Module([statement], [])
        compiled = compile(tree, code, "eval" if is_expression else "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        value = eval(compiled, scope)
        if compiled.co_flags & inspect.CO_COROUTINE:
            value = await value
        assert value is not False, "it is False"


@pytest.mark.usefixtures("leak_check")
def test_each_row_runs(px: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # a row sets it: given back after the test
    for name in ("whisper", "lfm2_audio", "vibe_voice"):
        monkeypatch.setitem(registry._nodes, name, registry.lookup_node("t-echo"))

    def own_names(code: str) -> str:
        # Somebody may be trying the page at the same moment.
        return code.replace('"camera"', f'"camera-{tmp_path}"')

    async def main() -> None:
        scope: dict[str, Any] = {}
        (imports,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        exec(imports, scope)
        try:
            for row in rows():
                if is_command(row):
                    continue
                try:
                    if row.raised_by is None:
                        await run(own_names(row.python), scope)
                    else:
                        with pytest.raises(scope[row.python]):
                            await run(own_names(row.raised_by), scope)
                except (Exception, pytest.fail.Exception) as error:
                    raise AssertionError(f"{row}\n{type(error).__name__}: {error}") from error
        finally:
            if "executor" in scope:
                await scope["executor"].shutdown()

    px.run(main())
    said = capfd.readouterr()
    assert "Processed audio size: 9600 bytes\n" in said.out
    assert "Active processes: 3\n" in said.out
    assert "asr ready\n" in said.out
    assert "Process crashed: tts (exit code: 137)\n" in said.err


def test_each_command_is_there() -> None:
    commands = [row.python for row in rows() if is_command(row)]
    assert commands == ["make build", "pip install .", "make bench"]
    for command in commands:
        if command.startswith("make "):
            subprocess.run([*command.split(), "--dry-run"], cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)


def test_each_name_has_a_row() -> None:
    spans = [span for row in rows() for span in re.findall(r"`([^`]+)`", row.rust)]
    named = {word for span in spans for word in re.findall(r"\w+", span)}
    assert set(NAMES.split()) - named == set()
