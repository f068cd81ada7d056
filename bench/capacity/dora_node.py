"""dora's three nodes, each in the process that dora started for it: python -m bench.capacity.dora_node STEP"""

from __future__ import annotations

import sys


def main() -> None:
    import numpy as np
    import pyarrow
    from dora import Node

    from bench.capacity.work import step

    name = sys.argv[1]
    work, changes, node = step(name), name == "resample", Node()
    for event in node:
        if event["type"] == "INPUT":
            metadata = {"number": event["metadata"]["number"]}
            samples = work(event["value"].to_numpy(zero_copy_only=True).astype(np.int16, copy=False))
            node.send_output("audio", pyarrow.array(samples) if changes else event["value"], metadata)
        elif event["type"] == "STOP":
            break


if __name__ == "__main__":
    main()
