"""ReplyNode: a few questions have answers, the rest is repeated."""

from datetime import datetime

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.nodes import ReplyNode
from remotemedia.nodes.reply import answer

NOW = datetime(2024, 2, 29, 15, 4)


@pytest.mark.parametrize(
    ("heard", "reply"),
    [
        ("hello", "Hello. What can I do for you?"),
        ("Hello, how are you?", "I am fine, thank you."),
        ("hello what time is it", "It is 3:04 p m."),
        ("what day is it today", "Today is Thursday, February 29."),
        ("how many words are in I like green tea", "There are 4 words in: i like green tea"),
        ("how many words", "Words in what?"),
        ("what is two plus three", "2 plus 3 is 5."),
        ("what is two plus three times four please", "2 plus 3 times 4 is 14."),
        ("two hundred and six minus twenty one", "6 minus 21 is -15."),
        ("twenty two divided by seven", "22 divided by 7 is 3.143."),
        ("three hundred twelve multiplied by 2", "312 times 2 is 624."),
        ("ten divided by zero", "Nobody can divide by zero."),
        ("two plus", "You said: two plus"),
        ("chips and gravy", "You said: chips and gravy"),
        (" ?! ", ""),
    ],
)
def test_answers(heard, reply):
    assert answer(heard, NOW) == reply


def test_node_replies_once_per_text_with_words(drive):
    sent = drive(ReplyNode("r", {}), [RuntimeData.text("good morning"), RuntimeData.text("")])
    assert [message.payload for message in sent] == ["Good morning."]


def test_audio_is_refused(drive):
    with pytest.raises(TypeError, match="ReplyNode takes TEXT with a str, not AUDIO with ndarray"):
        drive(ReplyNode("r", {}), [RuntimeData.audio(np.zeros(1, np.float32), 16_000)])
