"""The other side is killed: whoever waits wakes with a clear error, after everything it sent was received."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelClosedError

Names = Callable[[], str]
Children = Callable[..., Any]

SENDER = """
import numpy as np
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher
publisher = Publisher(sys.argv[1])
for i in range(int(sys.argv[2])):
    publisher.publish(RuntimeData.tensor(np.full(5000, i)))
say("sent")
hear()
"""

TAKER = """
from remotemedia.core.multiprocessing import Subscriber
subscriber = Subscriber(sys.argv[1])
held = [subscriber.receive() for _ in range(int(sys.argv[2]))]
say("took")
hear()
"""


@pytest.mark.parametrize("blocked", [False, True])
def test_blocked_receive_wakes(
    child_python: Children, channel_name: Names, in_thread: Any, thread_blocked: Any, blocked: bool
) -> None:
    name = channel_name()
    with Subscriber(name) as subscriber:
        child = child_python(SENDER, name, "3")
        child.expect("sent")
        if blocked:
            task = in_thread(lambda: [subscriber.receive().payload[0] for _ in range(4)])  # type: ignore[union-attr]
            thread_blocked(task.thread)
            child.kill()
            with pytest.raises(ChannelClosedError, match="died without closing"):
                task.result()
        else:
            child.kill()
            got = [subscriber.receive() for _ in range(3)]
            assert [data.payload[0] for data in got] == [0, 1, 2]  # type: ignore[union-attr]
            for _ in range(2):
                with pytest.raises(ChannelClosedError, match="died without closing"):
                    subscriber.receive()
                with pytest.raises(ChannelClosedError):
                    subscriber.receive(timeout=0)
            assert not subscriber.ended


def test_async_receive_wakes(child_python: Children, channel_name: Names) -> None:
    name = channel_name()

    async def run() -> None:
        with Subscriber(name) as subscriber:
            child = child_python(SENDER, name, "3")
            got = [await subscriber.receive_async() for _ in range(3)]
            assert [data.payload[0] for data in got] == [0, 1, 2]  # type: ignore[union-attr]
            task = asyncio.create_task(subscriber.receive_async())
            while not subscriber.statistics()["waiting"]:  # type: ignore[index]
                await asyncio.sleep(0)
            child.kill()
            with pytest.raises(ChannelClosedError, match="died without closing"):
                await task

    asyncio.run(run())


@pytest.mark.parametrize("why", ["room", "memory", "loan"])
def test_blocked_publish_wakes(
    child_python: Children, channel_name: Names, in_thread: Any, thread_blocked: Any, why: str
) -> None:
    """Full ring, or pool full of what the dead process held."""
    name = channel_name()
    options: dict[str, Any] = {"room": {"capacity": 2}}.get(why, {"pool_bytes": 8192})
    with Publisher(name, **options) as publisher:
        child = child_python(TAKER, name, "1")
        publisher.publish(RuntimeData.tensor(np.zeros(4096, np.uint8)))
        child.expect("took")

        def fill() -> None:
            while True:
                if why == "loan":
                    publisher.publish(RuntimeData.tensor(publisher.loan(4096, np.uint8)))
                else:
                    publisher.publish(RuntimeData.tensor(np.zeros(4096, np.uint8)))

        task = in_thread(fill)
        thread_blocked(task.thread)
        child.kill()
        with pytest.raises(ChannelClosedError, match=r"the subscriber of channel .* has died"):
            task.result()
        assert publisher.closed


@pytest.mark.parametrize("why", ["room", "memory"])
def test_async_publish_wakes(child_python: Children, channel_name: Names, why: str) -> None:
    name = channel_name()
    options: dict[str, Any] = {"room": {"capacity": 2}}.get(why, {"pool_bytes": 8192})

    async def run() -> None:
        with Publisher(name, **options) as publisher:
            child = child_python(TAKER, name, "1")
            await publisher.publish_async(RuntimeData.tensor(np.zeros(4096, np.uint8)))
            child.expect("took")

            async def fill() -> None:
                while True:
                    await publisher.publish_async(RuntimeData.tensor(np.zeros(4096, np.uint8)))

            task = asyncio.create_task(fill())
            while not publisher.statistics()["waiting"]:
                await asyncio.sleep(0)
            child.kill()
            with pytest.raises(ChannelClosedError, match="has died"):
                await task

    asyncio.run(run())


def test_killed_in_the_middle_of_publishing(child_python: Children, channel_name: Names) -> None:
    """Whole messages arrive, or none; never half of one."""
    name = channel_name()
    for _ in range(5):
        with Subscriber(name) as subscriber:
            child = child_python(
                """
                import numpy as np
                from remotemedia.core.data import RuntimeData
                from remotemedia.core.multiprocessing import Publisher
                publisher = Publisher(sys.argv[1])
                for i in range(10**9):
                    publisher.publish(RuntimeData.tensor(np.full(100_000, i)))
                """,
                name,
            )
            count = 0
            with pytest.raises(ChannelClosedError):
                while True:
                    data = subscriber.receive()
                    assert data is not None
                    assert (data.payload == count).all()
                    assert data.sequence == count
                    count += 1
                    if count == 20:
                        child.kill()
            assert count >= 20


def test_views_outlive_the_publishers_death_and_close(child_python: Children, channel_name: Names) -> None:
    name = channel_name()
    subscriber = Subscriber(name)
    child = child_python(
        """
        import hashlib
        import numpy as np
        from remotemedia.core.data import RuntimeData
        from remotemedia.core.multiprocessing import Publisher
        publisher = Publisher(sys.argv[1])
        for i in range(5):
            array = np.random.default_rng(i).integers(0, 255, 1_000_000, np.uint8)
            say(hashlib.sha256(array).hexdigest())
            publisher.publish(RuntimeData.tensor(array))
        publisher.publish(RuntimeData(publisher_type := __import__("remotemedia.core.data").core.data.DataType.TENSOR,
                                      b"bytes too"))
        hear()
        """,
        name,
    )
    got = [subscriber.receive() for _ in range(6)]
    digests = [child.hear()[0] for _ in range(5)]
    child.kill()
    with pytest.raises(ChannelClosedError):
        subscriber.receive()
    subscriber.close()
    del subscriber
    assert [hashlib.sha256(data.as_numpy()).hexdigest() for data in got[:5]] == digests  # type: ignore[union-attr]
    assert bytes(got[5].payload) == b"bytes too"  # type: ignore[union-attr, arg-type]
    mine = got[0].as_numpy(writable=True)  # type: ignore[union-attr]
    mine[:] = 0


def test_graceful_end_is_not_a_death(child_python: Children, channel_name: Names) -> None:
    name = channel_name()
    with Subscriber(name) as subscriber:
        child = child_python(SENDER + "\npublisher.close()\n", name, "2")
        child.expect("sent")
        child.say("close")
        assert child.wait() == 0
        assert [int(data.payload[0]) for data in subscriber] == [0, 1]  # type: ignore[arg-type]
        assert subscriber.ended
        assert subscriber.receive() is None
        assert subscriber.receive(timeout=0) is None
