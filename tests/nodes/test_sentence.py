"""SentenceNode: pieces of text become sentences."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.core.data import RuntimeData
from remotemedia.core.marks import END_OF_ANSWER, END_OF_TURN
from remotemedia.core.multiprocessing import Pipeline, Session
from remotemedia.nodes import SentenceNode
from remotemedia.testing import NodeHost

pytest.importorskip("sentencex", reason="needs sentencex, of the extra [sentences]")

text = RuntimeData.text
END = RuntimeData.control(END_OF_ANSWER)


def node(**config: Any) -> SentenceNode:
    return SentenceNode("s", config)


def said(outputs: list[RuntimeData]) -> list[str]:
    return [data.mark or str(data.payload) for data in outputs]


@pytest.mark.parametrize(
    ("whole", "sentences"),
    [
        ("Hello. How are you? Fine!", ["Hello.", "How are you?", "Fine!"]),
        ("Dr. Smith paid 3.50 dollars. He left at 5 p.m. yesterday.", None),
        ('He said "Go home." Then he went.', ['He said "Go home."', "Then he went."]),
        ("Wait... what?\\nYes", ["Wait... what?", "Yes"]),
        ("你好。今天天气好。", ["你好。", "今天天气好。"]),
        ("  \n ", []),
    ],
)
def test_sentences(drive: Any, whole: str, sentences: list[str] | None) -> None:
    whole = whole.replace("\\n", "\n")
    sentences = ["Dr. Smith paid 3.50 dollars.", "He left at 5 p.m. yesterday."] if sentences is None else sentences
    for pieces in ([whole], list(whole), [f"{word} " for word in whole.split(" ")]):
        assert said(drive(node(), [text(piece) for piece in pieces])) == sentences


def test_each_comes_out_as_soon_as_the_next_one_begins() -> None:
    async def main() -> None:
        async with NodeHost(node()) as host:
            for piece, sentences in [
                ("The sky", []),
                (" is blue", []),
                (".", []),
                (" ", []),
                ("It", ["The sky is blue."]),
                (" is 3", []),
                (".14", []),
                (" Is", []),
                ("?", []),
            ]:
                assert said(await host.feed(text(piece))) == sentences, piece
            assert said(await host.feed(END)) == ["It is 3.14 Is?", END_OF_ANSWER]
            assert said(await host.feed(RuntimeData.control("note"))) == ["note"]

    asyncio.run(main())


def test_the_first_clause_of_an_answer_alone_comes_early(drive: Any) -> None:
    answer = "Well, in that land of which I speak, there lived, a long time ago, a king. And then, as it goes, he died."
    rest = ["there lived, a long time ago, a king.", "And then, as it goes, he died."]
    pieces = [*map(text, answer), END, *map(text, "Yes, of course it is so, my dear old friend, it was."), END]
    assert said(drive(node(clause_chars=20), pieces)) == [
        "Well, in that land of which I speak,",
        *rest,
        END_OF_ANSWER,
        "Yes, of course it is so,",
        "my dear old friend, it was.",
        END_OF_ANSWER,
    ]
    assert said(drive(node(clause_chars=0), pieces[: len(answer)])) == [
        f"Well, in that land of which I speak, {rest[0]}",
        rest[1],
    ]


def test_a_sentence_without_an_end_is_cut_at_a_space(drive: Any) -> None:
    outputs = said(drive(node(most_chars=20), [text("one two three four five six seven eight nine")]))
    assert outputs == ["one two three four", "five six seven", "eight nine"] and max(map(len, outputs)) <= 20
    assert said(drive(node(most_chars=20), [text("x" * 50)])) == ["x" * 20, "x" * 20, "x" * 10]


def test_the_timestamp_is_that_of_what_completes_it(drive: Any) -> None:
    outputs = drive(
        node(), [text("One. ", timestamp=1.0), text("Two.", timestamp=2.0), RuntimeData.control(END_OF_TURN)]
    )
    assert [data.timestamp for data in outputs[:1]] == [2.0] and said(outputs) == ["One.", "Two.", END_OF_TURN]


def test_an_interruption_forgets_what_waits() -> None:
    async def main() -> None:
        async with NodeHost(node()) as host:
            assert said(await host.feed(text("A dinosaur is not a c"))) == []
            await host.interrupt()
            assert said(await host.feed(text("Hello. My"))) == ["Hello."]
            with pytest.raises(TypeError, match="SentenceNode takes TEXT"):
                await host.feed(RuntimeData.tensor(np.zeros(3)))

    asyncio.run(main())


def test_a_turn_of_a_session_has_all_its_sentences(px: Any) -> None:
    async def main() -> list[list[str]]:
        async with Session("sentences", Pipeline().add_node("SentenceNode", "s")) as session:
            return [said([data async for data in session.ask("s", text(words))]) for words in ("One. Two. ", "Three")]

    assert px.run(main()) == [["One.", "Two."], ["Three"]]


WORDS = st.sampled_from(
    ["Dr.", "a", "3.14", "p.m.", "Yes!", "no?", "well,", "(so)", "你好。", "…", "\n", "e.g.", "U.S.", "—", "I"]
)


@given(st.lists(WORDS, max_size=25), st.data(), st.integers(0, 30), st.integers(20, 60))
def test_the_pieces_do_not_matter_and_no_letter_is_lost(words: list[str], data: Any, clause: int, most: int) -> None:
    whole = " ".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    async def sentences(pieces: list[str]) -> list[str]:
        async with NodeHost(node(clause_chars=clause, most_chars=most)) as host:
            return [one for piece in [*map(text, pieces), END] for one in said(await host.feed(piece))][:-1]

    together = asyncio.run(sentences([whole]))
    assert asyncio.run(sentences(pieces)) == together
    assert "".join("".join(together).split()) == "".join(whole.split())
    assert all(one == one.strip() != "" for one in together)
