"""A node of dora's, in the process that dora started for it: it calls the runner and does its tasks.

python -m bench.peers.dora_node ADDRESS NUMBER
"""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Client

from bench.workers import serve


def main() -> None:
    address, number = sys.argv[1:]
    with Client(address, "AF_UNIX") as control:
        control.send(int(number))
        cpu, openers = control.recv()
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        serve(control, openers)


if __name__ == "__main__":
    main()
