"""Nodes for tests of ``remotemedia serve``. Its processes load this file by its path: it imports little."""

import subprocess

from remotemedia.core.multiprocessing import MultiprocessNode, register_node


@register_node("serve-echo")
class Echo(MultiprocessNode):
    async def initialize(self):
        pass

    async def process(self, data):
        print("echo:", data.payload, flush=True)
        return data

    async def cleanup(self):
        pass


@register_node("serve-litter")
class Litter(Echo):
    """Leaves processes: one in its group, and two in sessions of their own, of which one ends before the node does."""

    async def initialize(self):
        subprocess.Popen(["sleep", "3600"])
        over = subprocess.Popen(["sh", "-c", "echo"], start_new_session=True, stdout=subprocess.PIPE)
        over.stdout.read()  # and it is never waited for
        subprocess.Popen(["sleep", "0.3"], start_new_session=True)
