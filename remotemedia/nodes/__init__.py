"""The built-in nodes. Importing this package registers them; libraries they need are loaded when a node starts."""

# May import: core.multiprocessing, core.data, core.marks, errors, client, _audio, _install, _weights

from remotemedia.nodes.asr import PocketSphinxNode
from remotemedia.nodes.audio_reader import AudioFileReaderNode
from remotemedia.nodes.audio_writer import AudioFileWriterNode
from remotemedia.nodes.chunker import AudioChunkerNode
from remotemedia.nodes.lfm2_audio import LFM2AudioNode
from remotemedia.nodes.piper_tts import PiperTTSNode
from remotemedia.nodes.remote_pipeline import RemotePipelineNode
from remotemedia.nodes.reply import ReplyNode
from remotemedia.nodes.resample import ResampleNode
from remotemedia.nodes.tts import EspeakTTSNode
from remotemedia.nodes.turn import TurnNode
from remotemedia.nodes.vad import SileroVADNode
from remotemedia.nodes.vibe_voice import VibeVoiceNode
from remotemedia.nodes.whisper import WhisperNode

__all__ = [
    "AudioChunkerNode",
    "AudioFileReaderNode",
    "AudioFileWriterNode",
    "EspeakTTSNode",
    "LFM2AudioNode",
    "PiperTTSNode",
    "PocketSphinxNode",
    "RemotePipelineNode",
    "ReplyNode",
    "ResampleNode",
    "SileroVADNode",
    "TurnNode",
    "VibeVoiceNode",
    "WhisperNode",
]
