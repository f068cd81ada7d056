"""What LFM2AudioNode remembers of a conversation; without its library, which has no release for Python 3.11."""

from __future__ import annotations

import pytest

from remotemedia.core.multiprocessing import Heard, Position
from remotemedia.nodes import LFM2AudioNode, _lfm2
from remotemedia.nodes._conversation import CHARS_PER_SEC, Conversation, Exchange, Token, heard_secs

FRAME = 0.08


def text(letters: str) -> list[Token]:
    return [Token((ord(letter),), 1, 0.0) for letter in letters]


def sound(frames: int) -> list[Token]:
    return [Token((frame,) * 8, 0, FRAME) for frame in range(frames)]


def as_seen(tokens: list[Token]) -> str:
    """The letters of it, and a dot per frame."""
    return "".join(chr(token.codes[0]) if token.is_text else "." for token in tokens)


def answered(conversation: Conversation, said: str, tokens: list[Token], *, is_whole: bool = True) -> Exchange:
    exchange = conversation.begin(said)
    for token in tokens:
        conversation.add(exchange, token)
    exchange.is_whole = is_whole
    return exchange


def position(secs: float) -> Position:
    return Position(7, secs, 0, 0.0)


@pytest.mark.parametrize(
    ("secs", "kept"),
    [
        (-1.0, ""),
        (0.0, ""),
        (FRAME, "a."),
        (2 * FRAME, "ab.."),
        (2.6 * FRAME, "ab..."),
        (8 * FRAME, "abcd....ef...."),
        (12 * FRAME, "abcd....efgh........"),
        (99.0, "abcd....efgh........"),
    ],
)
def test_an_answer_that_came_to_its_end_is_cut_as_if_spoken_evenly(secs: float, kept: str) -> None:
    # Eight letters in twelve frames.
    exchange = Exchange("so?", tokens=[*text("abcd"), *sound(4), *text("efgh"), *sound(8)], is_whole=True)
    exchange.cut(secs)
    assert as_seen(exchange.tokens) == kept


def test_an_answer_without_an_end_is_cut_at_the_speed_of_people() -> None:
    exchange = Exchange("so?", tokens=[*text("x" * 100), *sound(50)])
    exchange.cut(2.0)
    assert as_seen(exchange.tokens) == "x" * int(2 * CHARS_PER_SEC) + "." * 25


def test_text_that_another_node_speaks_is_cut_at_the_speed_of_people() -> None:
    exchange = Exchange("so?", tokens=text("x" * 100), is_whole=True)
    exchange.cut(4.0)
    assert len(exchange.tokens) == 60
    exchange.cut(99.0)
    assert len(exchange.tokens) == 60


def test_the_end_of_the_sound_is_kept_with_the_whole_of_it_alone() -> None:
    end = Token((2048,) * 8, 0, 0.0)
    for secs, count in ((10 * FRAME, 11), (9 * FRAME, 9)):
        exchange = Exchange("so?", tokens=[*sound(10), end], is_whole=True)
        exchange.cut(secs)
        assert len(exchange.tokens) == count


def test_the_seconds_of_a_report_count_all_answers_since_the_interruption_before() -> None:
    conversation = Conversation(9)
    first = answered(conversation, "one", sound(10))
    second = answered(conversation, "two", sound(10))
    conversation.cut(13 * FRAME)
    assert (len(first.tokens), len(second.tokens)) == (10, 3)
    third = answered(conversation, "three", sound(10))
    conversation.cut(4 * FRAME)
    assert [len(one.tokens) for one in (first, second, third)] == [10, 3, 4]
    answered(conversation, "four", sound(10))
    conversation.cut(None)
    assert [len(one.tokens) for one in conversation.exchanges] == [10, 3, 4, 10]


def test_it_remembers_so_many_exchanges() -> None:
    for most, kept in ((0, ["c"]), (1, ["b", "c"]), (2, ["a", "b", "c"]), (5, ["a", "b", "c"])):
        conversation = Conversation(most)
        for said in "abc":
            answered(conversation, said, [])
        assert [one.said for one in conversation.exchanges] == kept
    conversation.take_back(conversation.exchanges[1])
    assert [one.said for one in conversation.exchanges] == ["a", "c"]
    conversation.clear()
    assert conversation.exchanges == []


def test_what_a_report_says() -> None:
    assert heard_secs({}) is None
    assert heard_secs({"a": Heard(None, None)}) == 0
    assert heard_secs({"a": Heard(position(3.0), None), "b": Heard(None, None)}) == 3.0
    assert heard_secs({"a": Heard(position(3.0), position(1.5)), "b": Heard(position(9.0), None)}) == 1.5
    assert heard_secs({"a": Heard(position(3.0), position(0.0))}) == 0
    assert heard_secs({"text alone": Heard(position(0.0), None)}) is None


def test_an_older_python_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lfm2, "_OLDEST_PYTHON", (99, 0))
    with pytest.raises(ImportError, match=r"LFM2AudioNode needs liquid-audio, which needs Python 3\.12"):
        LFM2AudioNode("s2s", {})._lfm2.check_installed()
