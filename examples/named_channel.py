"""Two programs meet by name, and video frames go from one to the other without a copy.

    python examples/named_channel.py

starts both. In two terminals, in any order, with any name:

    python examples/named_channel.py publish my-camera
    python examples/named_channel.py subscribe my-camera
"""

import os
import subprocess
import sys

import numpy as np

from remotemedia import Publisher, RuntimeData, Subscriber

FRAMES = 60
SHAPE = (1080, 1920, 3)


def publish(name: str) -> None:
    with Publisher(name, capacity=4) as publisher:
        for number in range(FRAMES):
            # The frame is drawn where the subscriber will read it: in shared memory.
            frame = publisher.loan(SHAPE, np.uint8)
            frame[:] = number
            publisher.publish(RuntimeData.video(frame, "rgb", 30.0))
        counted = publisher.statistics()
        print(
            f"published {FRAMES} frames, {counted['bytes'] / 1e6:.0f} MB, of which {counted['bytes_copied']} B copied"
        )


def subscribe(name: str) -> None:
    correct = 0
    with Subscriber(name) as subscriber:
        for message in subscriber:
            frame = message.as_numpy()  # a read-only view, valid until it is dropped
            correct += frame.shape == SHAPE and bool((frame[::100, ::100] == message.sequence).all())
    print(f"received {correct} frames as they were drawn")


def main() -> None:
    if len(sys.argv) == 3:
        {"publish": publish, "subscribe": subscribe}[sys.argv[1]](sys.argv[2])
        return
    name = f"frames-{os.getpid()}"
    with subprocess.Popen([sys.executable, __file__, "subscribe", name]) as subscriber:
        publish(name)
        # The name is given up with the publisher, the messages are not: the subscriber gets all of them.
    sys.exit(subscriber.returncode)


if __name__ == "__main__":
    main()
