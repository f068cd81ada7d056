"""A wrong config is one ValueError that names the node type, the key and what is valid."""

import pytest

from remotemedia.nodes import (
    AudioChunkerNode,
    AudioFileReaderNode,
    AudioFileWriterNode,
    EspeakTTSNode,
    PocketSphinxNode,
    ReplyNode,
    ResampleNode,
    SileroVADNode,
)


@pytest.mark.parametrize(
    ("node_class", "config", "message"),
    [
        (AudioChunkerNode, {"chunk": 1}, "AudioChunkerNode: there is no param 'chunk'; did you mean 'chunk_size'?"),
        (ReplyNode, {"name": "x"}, "ReplyNode: there is no param 'name'; it takes none"),
        (AudioChunkerNode, {"chunk_size": 0}, "'chunk_size' must be a whole number of at least 1, not 0"),
        (AudioChunkerNode, {"chunk_size": True}, "must be a whole number of at least 1, not True"),
        (AudioChunkerNode, {"chunk_size": None}, "must be a whole number of at least 1, not None"),
        (ResampleNode, {"quality": "best"}, "'quality' must be 'QQ', 'LQ', 'MQ', 'HQ' or 'VHQ', not 'best'"),
        (SileroVADNode, {"threshold": 1.5}, "'threshold' must be a number from 0 to 1, not 1.5"),
        (SileroVADNode, {"speech_pad_ms": float("nan")}, "must be a number of at least 0, not nan"),
        (PocketSphinxNode, {"language": "de"}, "'language' must be 'en-us', not 'de'"),
        (EspeakTTSNode, {"rate": 1000}, "'rate' must be a whole number from 80 to 450, not 1000"),
        (EspeakTTSNode, {"voice": 3}, "'voice' must be a non-empty string, not 3"),
        (AudioFileReaderNode, {"realtime": 1}, "'realtime' must be true or false, not 1"),
        (AudioFileWriterNode, {}, "'path' must be a non-empty string; it is missing"),
        (AudioFileWriterNode, {"path": "a.mp3"}, "'path' must end in one of .wav, .flac; not 'a.mp3'"),
        (
            AudioFileWriterNode,
            {"path": "a.flac", "subtype": "FLOAT"},
            "'subtype' must be 'PCM_16' or 'PCM_24' for FLAC",
        ),
    ],
)
def test_the_fault_is_named(node_class, config, message):
    with pytest.raises(ValueError) as raised:
        node_class("n", config)
    assert node_class.__name__ in str(raised.value)
    assert message in str(raised.value)
