"""What a recogniser's outputs say, and how much of it is wrong."""

from __future__ import annotations

import re

import numpy as np

from remotemedia.core.data import RuntimeData

RATE = 16_000


def texts(outputs, port="text"):
    return [output.payload for output in outputs if output.port == port]


def marker():
    return RuntimeData.audio(np.empty(0, np.float32), RATE)


def words_of(text):
    """As the transcription has them: lower case, without punctuation or hyphens."""
    plain = re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " ")).replace("mr ", "mister ")
    return plain.split()


def wrong_words(said, heard):
    """The number of words to put in, take out or replace."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        last, row[0] = row[0], number
        for at, other in enumerate(heard, 1):
            last, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, last + (word != other))
    return row[-1]


def error_rate(said, hear):
    """Wrong words for each word said, over all recordings; ``hear`` gives the texts for samples."""
    wrong = sum(wrong_words(words, words_of(" ".join(hear(samples)))) for samples, words in said.values())
    return wrong / sum(len(words) for _, words in said.values())
