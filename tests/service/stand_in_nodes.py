"""Stand-ins for the models that the quick starts name, which are not part of this package and do not run here.

Each makes of what it gets something that says where it came through; what the voice says can be read again.
"""

from __future__ import annotations

import numpy as np

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node


class StandIn(MultiprocessNode):
    async def initialize(self) -> None:
        assert all(isinstance(value, str | float) for value in self.config.values())

    async def process(self, data: RuntimeData) -> RuntimeData:
        return data

    async def cleanup(self) -> None:
        pass


@register_node("WhisperNode")
@register_node("whisper")
class StandInForWhisper(StandIn):
    async def process(self, data: RuntimeData) -> RuntimeData:
        assert data.type is DataType.AUDIO and isinstance(data.metadata, AudioMetadata)
        model = self.config.get("model", "-")
        return RuntimeData.text(f"{model} heard {len(data.as_numpy())} at {data.metadata.sample_rate} Hz")


@register_node("LFM2AudioNode")
@register_node("LFM2Node")
@register_node("lfm2_audio")
class StandInForLFM2Audio(StandIn):
    async def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.text(f"{data.payload}, {self.config.get('model', '-')} answered")


@register_node("VibeVoiceNode")
@register_node("vibe_voice")
class StandInForVibeVoice(StandIn):
    async def process(self, data: RuntimeData) -> RuntimeData:
        assert isinstance(data.payload, str)
        said = f"{data.payload}, {self.config.get('voice', '-')} said. "
        return RuntimeData.audio(np.frombuffer(said.encode(), np.uint8) / np.float32(256), 24_000)


@register_node("AudioOutputNode")
class StandInForAudioOutput(StandIn):
    pass


def read_again(samples: np.ndarray) -> str:
    """What the voice said."""
    return bytes((samples * 256).astype(np.uint8)).decode()
