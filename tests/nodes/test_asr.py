"""PocketSphinxNode: what is said depends on the samples, not on how they arrive."""

import asyncio
import itertools

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.nodes import PocketSphinxNode
from remotemedia.testing import NodeHost

pytest.importorskip("pocketsphinx")


def texts(outputs, port="text"):
    return [output.payload for output in outputs if output.port == port]


def marker():
    return RuntimeData.audio(np.empty(0, np.float32), 16_000)


def test_partials_grow_into_the_text_which_comes_once(drive, split, question):
    outputs = drive(PocketSphinxNode("a", {}), [*split(question, 16_000, [1600]), marker()])
    assert texts(outputs) == ["what time is it"]
    partials = texts(outputs, "partial")
    assert partials
    assert all(one != next_one for one, next_one in itertools.pairwise(partials))
    assert outputs[-1].port == "text"


def test_chunk_size_and_earlier_utterances_do_not_matter(drive, split, question):
    once = drive(PocketSphinxNode("a", {}), split(question, 16_000, [len(question)]))
    other = drive(PocketSphinxNode("a", {}), [*split(question, 16_000, [333]), marker()] * 2)
    assert texts(other) == texts(once) * 2
    assert texts(other, "partial") == texts(once, "partial") * 2


def test_what_is_not_a_number_does_not_change_the_words(drive, split, question, caplog):
    spoilt = question.copy()
    spoilt[100:4000:1000] = np.nan
    assert texts(drive(PocketSphinxNode("a", {}), split(spoilt, 16_000, [1600]))) == ["what time is it"]
    assert caplog.messages == ["PocketSphinxNode: 4 samples were NaN, taken as 0"]


@pytest.mark.parametrize("messages", [[], [marker(), marker()], [RuntimeData.audio(np.zeros(10, np.float32), 16_000)]])
def test_nothing_said_gives_no_text(drive, messages):
    assert texts(drive(PocketSphinxNode("a", {}), messages)) == []


def test_interrupt_forgets_the_open_utterance(split, question):
    async def turns():
        async with NodeHost(PocketSphinxNode("a", {})) as host:
            for message in split(question[:20_000], 16_000, [3000]):
                await host.feed(message)
            await host.interrupt()
            silent = await host.feed(marker())
            again = [sent for message in split(question, 16_000, [900]) for sent in await host.feed(message)]
            return silent, again + await host.finish()

    silent, again = asyncio.run(turns())
    assert silent == []
    assert texts(again) == ["what time is it"]


def test_other_audio_is_refused_with_the_remedy(drive):
    with pytest.raises(ValueError, match="PocketSphinxNode takes 16000 Hz mono float32, not 22050 Hz"):
        drive(PocketSphinxNode("a", {}), [RuntimeData.audio(np.zeros(9, np.float32), 22_050)])


def test_recordings_of_a_person(drive, split, recording):
    small = texts(drive(PocketSphinxNode("a", {}), split(recording, 16_000, [160])))
    large = texts(drive(PocketSphinxNode("a", {}), split(recording, 16_000, [4001])))
    assert small == large
    assert small[0].startswith("he ")
