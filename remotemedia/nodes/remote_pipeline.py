"""RemotePipelineNode: a node that is a pipeline in a gRPC service elsewhere."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any

from remotemedia.core.data import RuntimeData
from remotemedia.core.marks import END_OF_TURN
from remotemedia.core.multiprocessing import Held, InitProgress, MultiprocessNode, Param, SessionStatus, register_node

__all__ = ["RemotePipelineNode"]

_NUMBERS_KEPT = 10_000
_EXIT_REMOTE_FAILED = 1


@register_node("RemotePipelineNode")
class RemotePipelineNode(MultiprocessNode):
    """Sends its input to a pipeline in a gRPC service, and puts out that pipeline's outputs as they come.

    Ports: input on any port goes to ``input_node``. An output leaves by the port of its name, where something is
    connected to that, else by every one. It has the ``origin`` of the message it was made of.

    Ready when the remote pipeline is ready; its progress is this node's. The end of the stream goes to the remote
    pipeline, and comes back when that has nothing more; interruptions likewise. A slow remote pipeline makes this node
    slow, and outputs that are not taken from this node make the remote one wait.

    When anything fails there, even ``process()`` on one message, the remote pipeline is gone. This node's process then
    ends with code 1: a ProcessCrashError whose last lines on stderr say what failed there.
    """

    params = {
        "target": Param(str, help="host and port of the service"),
        "manifest": Param(dict, None, help="the remote pipeline"),
        "manifest_path": Param(str, None, help="the same as a file, read where this node runs"),
        "input_node": Param(str, None, help="the remote node that is fed; the only one, if null"),
        "output_node": Param(str, None, help="the remote node whose outputs are taken; the only one, if null"),
        "init_timeout_secs": Param(float, None, low=0.001, help="of the remote pipeline; null: as the service has it"),
        "token_file": Param(str, None, help="a file with the token that the service wants"),
        "token_variable": Param(str, None, help="or an environment variable with it"),
        "tls_ca": Param(str, None, help="a file with the certificates to trust (PEM); null: no TLS"),
        "tls_certificate": Param(str, None, help="a file with this client's own certificate"),
        "tls_key": Param(str, None, help="a file with its key"),
    }

    def __init__(self, node_id: str, config: dict[str, Any]) -> None:
        super().__init__(node_id, config)
        for one, other in (("manifest", "manifest_path"), ("token_file", "token_variable")):
            if self.config[one] is not None and self.config[other] is not None:
                raise ValueError(f"{type(self).__name__}: of the params {one!r} and {other!r} give one")
        if self.config["manifest"] is None and self.config["manifest_path"] is None:
            raise ValueError(f"{type(self).__name__}: param 'manifest' or 'manifest_path' must say what to run")
        self._relays_ends = True
        self._sent: OrderedDict[int, tuple[int, Held | None]] = OrderedDict()
        self._count = 0
        self._stack = AsyncExitStack()
        self._heard: dict[str, float] = {}
        self._pump: asyncio.Task[None] | None = None

    async def initialize(self) -> None:
        """Starts the remote pipeline; raises what ``PipelineClient.session`` raises."""
        from remotemedia.client import PipelineClient

        config = self.config
        files = {key: config[key] for key in ("tls_ca", "tls_certificate", "tls_key")}
        client = await self._stack.enter_async_context(PipelineClient(config["target"], token=self._token(), **files))
        secs = config["init_timeout_secs"]
        settings = {} if secs is None else {"init_timeout_secs": secs}
        session = client.session(config["manifest"] or Path(config["manifest_path"]), settings, self._tell)
        self._input = _choose("input_node", config["input_node"], session.input_nodes)
        self._output = _choose("output_node", config["output_node"], session.output_nodes)
        self._heard = dict.fromkeys(session.node_ids, 0.0)
        self._session = await self._stack.enter_async_context(session)

    async def run(self) -> None:
        """As any node, with a task beside it that puts out what the remote pipeline makes."""
        self._pump = asyncio.create_task(self._put_out(), name=f"outputs of {self.node_id}")
        await super().run()

    async def process(self, data: RuntimeData) -> None:
        """Sends; waits while the remote pipeline takes no more."""
        held = self.hold(data)
        if not held.turn:
            self.release(held)
        self._count += 1
        self._sent[self._count], data.origin = (data.origin, held if held.turn else None), self._count
        while len(self._sent) > _NUMBERS_KEPT and next(iter(self._sent.values()))[1] is None:
            self._sent.popitem(last=False)
        with self._dying_with_it():
            await self._session.send(self._input, data)

    async def on_mark(self, mark: RuntimeData) -> None:
        """Sends the mark."""
        await self.process(mark)

    async def finish(self) -> None:
        """Ends the remote stream, and returns when all that was made of it is put out."""
        assert self._pump is not None
        with self._dying_with_it():
            await self._session.end_input()
        await self._pump

    async def on_interrupt(self) -> None:
        """Interrupts the remote pipeline. Nothing that was interrupted is then left for ``_put_out`` to take."""
        self._sent.clear()
        self.release()
        with self._dying_with_it():
            await self._session.interrupt()

    async def cleanup(self) -> None:
        """Ends the remote pipeline."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait({self._pump})
        await self._stack.aclose()

    # --- inside ---

    async def _put_out(self) -> None:
        with self._dying_with_it():
            async with aclosing(self._session.outputs(self._output)) as outputs:
                async for _, data in outputs:
                    data.session_id = ""  # it is a message of the session here now
                    data.origin, held = self._sent.get(data.origin, (0, None))
                    output = {data.port: data} if data.port in self.output_channels else data
                    await self.emit(output, of=None if held is None or held.released else held)
                    if held is not None and data.mark == END_OF_TURN:
                        self._end_turn(held)

    def _end_turn(self, held: Held) -> None:
        """The remote pipeline has passed on the end of this turn."""
        for number, (_, other) in list(self._sent.items()):
            if other is not None and other.turn == held.turn:
                self.release(other)
                del self._sent[number]

    @contextmanager
    def _dying_with_it(self) -> Iterator[None]:
        """Without the remote pipeline this node is good for nothing, whatever comes: not for this message alone."""
        try:
            yield
        except Exception as error:
            if self._session.status is not SessionStatus.ERROR:
                raise
            said = f"the pipeline at {self.config['target']} failed: {type(error).__name__}: {error}"
            print(f"node {self.node_id!r}: {said}", file=sys.stderr, flush=True)
            os._exit(_EXIT_REMOTE_FAILED)

    def _tell(self, progress: InitProgress) -> None:
        self._heard[progress.node_id] = progress.progress
        message = f"{progress.node_id}: {progress.message or progress.status}"
        self.report_progress(sum(self._heard.values()) / len(self._heard), message)

    def _token(self) -> str | None:
        file, variable = self.config["token_file"], self.config["token_variable"]
        if file is not None:
            return Path(file).read_text().strip()
        if variable is not None and variable not in os.environ:
            raise ValueError(f"there is no environment variable {variable!r} (param 'token_variable')")
        return None if variable is None else os.environ[variable]


def _choose(param: str, wanted: str | None, choices: tuple[str, ...]) -> str:
    if wanted is None and len(choices) == 1:
        return choices[0]
    if wanted not in choices:
        must = "must be one" if wanted is None else f"is {wanted!r}, not one"
        raise ValueError(f"param {param!r} {must} of the remote pipeline's: {', '.join(map(repr, choices))}")
    return wanted
