"""What a model of text remembers of a conversation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.core.multiprocessing import Heard, Interruption, Position
from remotemedia.nodes._conversation import CHARS_PER_SEC
from remotemedia.nodes._dialogue import Dialogue

# 30 characters, so two seconds.
ANSWER = "It was a dinosaur, not a cat. "


def heard(secs: float, timestamp: float, *, played: bool = True) -> Interruption:
    position = Position(3, secs, 0, timestamp)
    return Interruption(1, 2, {"tts": Heard(position, position if played else None)})


def answered(*answers: str, most: int = 20) -> Dialogue:
    dialogue = Dialogue(most)
    for number, answer in enumerate(answers):
        dialogue.begin(f"question {number}", float(number)).answer = answer
    return dialogue


def answers(dialogue: Dialogue) -> list[str]:
    return [exchange.answer.strip() for exchange in dialogue.exchanges]


@pytest.mark.parametrize("played", [True, False])
@pytest.mark.parametrize(
    ("secs", "kept"),
    [
        (0.0, ANSWER),
        (0.05, ""),
        (0.1, "It"),
        (0.6, "It was a"),
        (1.0, "It was a"),
        (1.2, "It was a dinosaur,"),
        (9, ANSWER),
    ],
)
def test_an_answer_is_cut_where_it_was_heard(secs: float, kept: str, played: bool) -> None:
    """Zero seconds are an output of text: it was heard, and nobody knows how far."""
    dialogue = answered(ANSWER)
    dialogue.cut(heard(secs, 0.0, played=played))
    assert answers(dialogue) == [kept.strip()]


def test_answers_before_it_were_heard_and_those_after_it_were_not() -> None:
    dialogue = answered(ANSWER, ANSWER, ANSWER)
    dialogue.cut(heard(2 + 0.6, 1.0))
    assert answers(dialogue) == [ANSWER.strip(), "It was a", ""]


def test_of_outputs_that_belong_to_no_answer_the_seconds_count() -> None:
    dialogue = answered(ANSWER, ANSWER)
    dialogue.cut(heard(2 + 0.6, 77.0))
    assert answers(dialogue) == [ANSWER.strip(), "It was a"]


def test_a_report_without_outputs_keeps_all_and_one_of_silence_nothing() -> None:
    dialogue = answered(ANSWER)
    dialogue.cut(Interruption(1, 2))
    assert answers(dialogue) == [ANSWER.strip()]
    dialogue.begin("again", 1.0).answer = ANSWER
    dialogue.cut(Interruption(2, 2, {"tts": Heard(None, None)}))
    assert answers(dialogue) == [ANSWER.strip(), ""]


def test_what_a_model_is_given() -> None:
    dialogue = answered("One.", "", "Three. ", most=3)
    dialogue.exchanges[2].between = [{"role": "tool", "content": "3"}]
    assert dialogue.messages("Be kind.") == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "question 0"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "question 1\nquestion 2"},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "Three."},
    ]
    dialogue.take_back(dialogue.exchanges[0])
    for number in range(5):
        dialogue.begin(f"more {number}", 9.0)
    assert [exchange.said for exchange in dialogue.exchanges] == ["more 1", "more 2", "more 3", "more 4"]
    assert len(answered("a", "b", most=0).exchanges) == 1
    dialogue.clear()
    assert dialogue.messages() == []


@given(st.lists(st.text("ab .", max_size=40), max_size=5), st.floats(0, 20), st.integers(-1, 5))
def test_it_remembers_beginnings_and_the_more_the_more_was_heard(said: list[str], secs: float, last: int) -> None:
    less, more = answered(*said), answered(*said)
    less.cut(heard(secs, float(last)))
    more.cut(heard(secs + 1, float(last)))
    if secs:
        for short, long, whole in zip(answers(less), answers(more), said, strict=True):
            assert long.startswith(short) and whole.strip().startswith(long)
    if 0 <= last < len(said):
        assert answers(less)[:last] == [one.strip() for one in said[:last]] and set(answers(less)[last + 1 :]) <= {""}
    elif secs:
        assert sum(map(len, answers(less))) <= secs * CHARS_PER_SEC + 1
