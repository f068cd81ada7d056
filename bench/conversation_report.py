"""The section of ``docs/performance.md`` about a conversation, from what ``bench.conversation`` has measured."""

from __future__ import annotations

import statistics
from typing import Any

__all__ = ["conversation_section"]

_STAGES = {
    "turn": "the turn has ended",
    "words": "the words of the question",
    "answer": "the first word of the answer",
    "sentence": "the first text for the voice",
    "sound": "the first sample of the answer",
    "streams": "the first sample, from a voice that streams",
}
_INTRO = """\
## A conversation

A question is spoken, and its answer is spoken: TurnNode with Smart Turn, Whisper tiny.en with a beam of 1,
gemma-3-270m, SentenceNode and Piper en_US-joe-medium, all greedy and with the same prompts. Either in a session, a
process for each node; or the same nodes in one process, each of which begins when the one before it is done. There
the voice gives its sound at the end, as most libraries do, or, in the last line, as Piper makes it. Both have
{threads} threads for each library, and one for the language model, which is slower with more. The question is fed
at the pace of a microphone; they take turns; {repeat} times each, after two that warm up.

How much sooner the first sound comes depends on the answer: the voice begins with its first sentence, so what comes
after that is won. With one sentence there is only what is decoded before the end of the turn is certain.

Milliseconds from the end of speech. {cpu}, {cpus} CPUs, Linux {kernel}, Python {python}, {date}, commit {commit}:
`python -m bench.conversation`.
"""


def conversation_section(results: dict[str, Any]) -> str:
    """In Markdown. ``results`` is what ``bench.conversation --json`` writes."""
    repeat = len(results["cases"][0]["processes"])
    parts = [_INTRO.format(threads=results["threads"], repeat=repeat, **results["machine"])]
    return "\n".join(parts + [_case(case) for case in results["cases"]])


def _case(case: dict[str, Any]) -> str:
    answers = " Or: ".join(f'"{answer}"' for answer in case["answers"])
    lines = [
        f'**"{case["question"]}"** {answers}',
        "",
        "| from the end of speech to | a process per node, p50 | p95 | one by one, p50 | p95 | sooner |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for stage, name in _STAGES.items():
        ours = sorted(1e3 * took["sound" if stage == "streams" else stage] for took in case["processes"])
        theirs = sorted(1e3 * took[stage] for took in case["one_by_one"])
        sooner = 1 - statistics.median(ours) / statistics.median(theirs)
        lines.append(f"| {name} | {_figures(ours)} | {_figures(theirs)} | {sooner:.0%} |")
    return "\n".join(lines) + "\n"


def _figures(ms: list[float]) -> str:
    return f"{statistics.median(ms):,.0f} | {ms[round(0.95 * (len(ms) - 1))]:,.0f}"
