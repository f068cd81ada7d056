"""The built-in nodes. Importing this package registers them; libraries they need are loaded when a node starts."""

# May import: core.multiprocessing, core.data, core.marks, errors, client, _audio, _gguf, _install, _weights

from remotemedia.nodes.asr import PocketSphinxNode
from remotemedia.nodes.audio_output import AudioOutputNode
from remotemedia.nodes.audio_reader import AudioFileReaderNode
from remotemedia.nodes.audio_writer import AudioFileWriterNode
from remotemedia.nodes.chat import ChatNode
from remotemedia.nodes.chunker import AudioChunkerNode
from remotemedia.nodes.lfm2_audio import LFM2AudioNode
from remotemedia.nodes.llama import LlamaNode
from remotemedia.nodes.piper_tts import PiperTTSNode
from remotemedia.nodes.remote_pipeline import RemotePipelineNode
from remotemedia.nodes.reply import ReplyNode
from remotemedia.nodes.resample import ResampleNode
from remotemedia.nodes.sentence import SentenceNode
from remotemedia.nodes.tts import EspeakTTSNode
from remotemedia.nodes.turn import TurnNode
from remotemedia.nodes.vad import SileroVADNode
from remotemedia.nodes.vibe_voice import VibeVoiceNode
from remotemedia.nodes.whisper import WhisperNode

__all__ = [
    "AudioChunkerNode",
    "AudioFileReaderNode",
    "AudioFileWriterNode",
    "AudioOutputNode",
    "ChatNode",
    "EspeakTTSNode",
    "LFM2AudioNode",
    "LlamaNode",
    "PiperTTSNode",
    "PocketSphinxNode",
    "RemotePipelineNode",
    "ReplyNode",
    "ResampleNode",
    "SentenceNode",
    "SileroVADNode",
    "TurnNode",
    "VibeVoiceNode",
    "WhisperNode",
]
