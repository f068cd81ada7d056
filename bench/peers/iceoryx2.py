"""iceoryx2 through its Python bindings: its receiver polls without a pause, or sleeps on its event.

Samples are read and written through the addresses they give, which is faster than through ``payload()``. It must not
lose messages here, so overflow is off and the publisher retries.
"""

from __future__ import annotations

import ctypes
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.contender import WORD_BYTES, Contender, Link, Setting, Words, private_array

_SHM = Path("/dev/shm")


class _End:
    """A node and its services. Prefix and root are the link's own, so that leftovers can be told from others'."""

    def __init__(self, prefix: str, root: Path, setting: Setting, *, event: bool) -> None:
        import iceoryx2 as iox

        iox.set_log_level(iox.LogLevel.Error)
        config = iox.config.default()
        config.global_cfg.prefix = iox.FileName.new(prefix)
        config.global_cfg.root_path = iox.Path.new(str(root))
        self._node = (
            iox.NodeBuilder.new()
            .signal_handling_mode(iox.SignalHandlingMode.Disabled)
            .config(config)
            .create(iox.ServiceType.Ipc)
        )
        name = iox.ServiceName.new("bench")
        self._service = (
            self._node.service_builder(name)
            .publish_subscribe(iox.Slice[ctypes.c_int64])
            .enable_safe_overflow(False)
            .history_size(0)
            .subscriber_max_buffer_size(setting.depth)
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()
        )
        self._event = self._node.service_builder(name).event().open_or_create() if event else None
        self._length = setting.size // WORD_BYTES
        self._words = ctypes.c_int64 * self._length

    def close(self) -> None:
        self.__dict__.clear()


class IceoryxSender(_End):
    def __init__(self, prefix: str, root: Path, setting: Setting, *, event: bool, loaned: bool) -> None:
        import iceoryx2 as iox

        super().__init__(prefix, root, setting, event=event)
        self._publisher = (
            self._service.publisher_builder()
            .initial_max_slice_len(self._length)
            .backpressure_strategy(iox.BackpressureStrategy.RetryUntilDelivered)
            .create()
        )
        self._notifier = self._event.notifier_builder().create() if self._event is not None else None
        self._private = None if loaned else private_array(setting.size)

    def send(self, value: int) -> None:
        sample = self._publisher.loan_slice_uninit(self._length)
        array = np.frombuffer(self._words.from_address(sample.payload_ptr), np.int64)
        if self._private is None:
            array[0] = array[-1] = value
        else:
            self._private[0] = self._private[-1] = value
            array[:] = self._private
        sample.assume_init().send()
        if self._notifier is not None:
            self._notifier.notify()


class IceoryxReceiver(_End):
    def __init__(self, prefix: str, root: Path, setting: Setting, *, event: bool) -> None:
        super().__init__(prefix, root, setting, event=event)
        self._subscriber = self._service.subscriber_builder().create()
        self._listener = self._event.listener_builder().create() if self._event is not None else None
        self._sample: Any = None

    def receive(self) -> Words:
        receive = self._subscriber.receive
        self._sample = sample = None  # the last one is given back: a subscriber may borrow few at a time
        while (sample := receive()) is None:
            if self._listener is not None:
                self._listener.blocking_wait()
        self._sample = sample  # keeps the memory
        return np.frombuffer(self._words.from_address(sample.payload_ptr), np.int64)


def link(setting: Setting, *, event: bool, loaned: bool) -> Link:
    prefix = f"bench-{setting.tag}-"
    root = setting.scratch / setting.tag

    def close() -> None:
        shutil.rmtree(root, ignore_errors=True)
        for left in _SHM.glob(f"{prefix}*"):
            left.unlink()

    return Link(
        partial(IceoryxSender, prefix, root, setting, event=event, loaned=loaned),
        partial(IceoryxReceiver, prefix, root, setting, event=event),
        close,
    )


def _contender(waits: str, modes: set[str], *, event: bool, loaned: bool) -> Contender:
    name = f"iceoryx2 {'loaned' if loaned else 'copied'}, {waits}"
    return Contender(name, "iceoryx2", frozenset(modes), partial(link, event=event, loaned=loaned), loaned)


CONTENDERS = (
    _contender("polling", {"hot", "throughput"}, event=False, loaned=True),
    _contender("polling", {"hot", "throughput"}, event=False, loaned=False),
    _contender("event", {"hot", "paced"}, event=True, loaned=True),
    _contender("event", {"paced"}, event=True, loaned=False),
)
