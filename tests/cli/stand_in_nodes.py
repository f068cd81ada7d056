"""Stand-ins for the model nodes that the seeds' manifests name: they pass on what they are given."""

from remotemedia.core.multiprocessing import MultiprocessNode, register_node


@register_node("WhisperNode")
@register_node("LFM2AudioNode")
@register_node("VibeVoiceNode")
class StandIn(MultiprocessNode):
    async def initialize(self):
        pass

    async def process(self, data):
        return data

    async def cleanup(self):
        pass
