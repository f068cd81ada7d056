"""A node for tests of ``remotemedia serve``. Its processes load this file by its path: it imports little."""

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
