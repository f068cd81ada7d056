"""Which Python each node runs: what its pipeline says, else the settings of its type, else the session's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from remotemedia import __version__, _ring
from remotemedia._python_rules import PYTHON_RULES
from remotemedia.core.multiprocess.classes.registry import lookup_node
from remotemedia.core.multiprocess.graph.pipeline import NodeConfig
from remotemedia.core.multiprocess.process.spawn import find_python
from remotemedia.core.multiprocess.values.config import MultiprocessConfig
from remotemedia.core.multiprocess.values.progress import InitProgress
from remotemedia.errors import PipelineError, ProcessSpawnError

__all__ = ["Interpreter", "interpreter_of", "other_remotemedia"]

_POOLS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Interpreter(NamedTuple):
    """What a node's process is started with: the path of its Python, and variables beside this program's."""

    python: str
    env: dict[str, str]


async def interpreter_of(
    node: NodeConfig, config: MultiprocessConfig, nodes: int, tell: Callable[[InitProgress], None]
) -> Interpreter:
    """The interpreter of a node in a pipeline of so many.

    Waits only where an environment has to be made of requirements; ``tell`` hears of its steps. ProcessSpawnError if
    it does not exist; with the node's name where the pipeline or its type chose it.
    """
    of_type = config.nodes.get(node.node_type, {})
    env = {**_thread_counts(nodes), **of_type.get("env", {}), **node.env}
    chosen = node.python or {key: value for key, value in of_type.items() if key != "env"} or _declared(node, config)
    if not chosen:
        return Interpreter(find_python(config.python_executable, config.venv_path), env)
    try:
        return Interpreter(
            await _python(chosen, config, lambda text: tell(InitProgress(node.node_id, "starting", 0.0, text))), env
        )
    except ProcessSpawnError as error:
        raise ProcessSpawnError(f"node {node.node_id!r}: {error}") from None


async def _python(chosen: Mapping[str, Any], config: MultiprocessConfig, tell: Callable[[str], None]) -> str:
    if "requirements" not in chosen:
        return find_python(chosen.get("executable", ""), chosen.get("venv_path"))
    from remotemedia import environments  # here: most sessions make none

    wanted = environments.Wanted(tuple(chosen["requirements"]), chosen.get("version", ""))
    made = environments.find(wanted)
    if made is None:
        python = find_python(config.python_executable)
        made = await environments.make(wanted, lambda text: tell(f"its environment: {text}"), python)
    return find_python("", str(made.folder))


def _declared(node: NodeConfig, config: MultiprocessConfig) -> dict[str, Any]:
    """What the node's class declares that it needs, where the session's own Python does not have it.

    Another Python was chosen by somebody who knows what is in it.
    """
    requirements = lookup_node(node.node_type).requirements
    if not requirements or config.python_executable != sys.executable or config.venv_path is not None:
        return {}
    if wrong := PYTHON_RULES["requirements"].wrong(requirements):
        raise PipelineError(f"node {node.node_id!r}: requirements of node type {node.node_type!r} {wrong}")
    from remotemedia import environments

    return {"requirements": list(requirements)} if environments.unmet(requirements) else {}


def other_remotemedia(python: str, version: str, abi: int) -> str | None:
    """Why a Python's remotemedia, of this version and layout of shared memory, does not fit ours; None if it does."""
    if (version, abi) == (__version__, _ring.ABI_VERSION):
        return None
    from remotemedia._install import install_advice

    theirs = f"remotemedia {version} (ring {abi})" if version else "an older remotemedia"
    ours = f"{__version__} (ring {_ring.ABI_VERSION})"
    return f"{python} has {theirs}, and this program {ours}: {install_advice(python=python)}"


def _thread_counts(nodes: int) -> dict[str, str]:
    """The variables that size the thread pools of numeric libraries: a fair share of the processors for each of so
    many nodes, where the program's own environment does not say otherwise.

    Without them each library of each node starts a thread per processor, and what they win they lose to one another.
    """
    share = max(1, len(os.sched_getaffinity(0)) // max(1, nodes))
    return {name: str(share) for name in _POOLS if name not in os.environ}
