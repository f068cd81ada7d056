"""``remotemedia models``: what is listed, where weights are looked for, and how a failed download ends."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "number", "option"),
    [
        ("speech.md", 0, ()),
        ("speech.md", 1, ("--backend", "transformers")),
        ("voices.md", 0, ("--backend", "vibevoice")),
        ("speech_to_speech.md", 0, ("--backend", "lfm2")),
    ],
)
def test_the_list_is_the_table_of_the_page(remotemedia, page, number, option):
    done = remotemedia("models", "list", "--json", *option)
    assert (done.code, done.err) == (0, "")
    listed = json.loads(done.out)["models"]
    table = (DOCS / page).read_text().split("| name | MB | licence | |")[number + 1].partition("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) \| ([^|]+) \| (.+) \|$", table, re.MULTILINE)
    assert rows == [(one["name"], str(one["megabytes"]), one["licence"], one["remark"]) for one in listed] != []
    lines = remotemedia("models", "list", *option).out.splitlines()
    assert [re.split(" {2,}", line)[:3] for line in lines] == [
        [name, f"{size} MB", licence] for name, size, licence, _ in rows
    ]


def test_where_prints_the_folder_that_a_node_would_take(remotemedia, tmp_path):
    pytest.importorskip("huggingface_hub", reason="needs the extra [whisper]")
    folder = tmp_path / "mine" / "base"
    folder.mkdir(parents=True)
    done = remotemedia("models", "where", "base", "--models-dir", str(folder.parent))
    assert (done.code, done.out) == (2, "")
    assert (
        f"{folder} (no CTranslate2 model: it lacks model.bin, config.json, tokenizer.json, vocabulary.json)" in done.err
    )
    assert done.err.endswith(f"; to get them: remotemedia models fetch base --models-dir {folder.parent}\n")
    lacks = "model.safetensors, config.json, generation_config.json, tokenizer.json, processor_config.json"
    done = remotemedia("models", "where", "base", "--backend", "transformers", "--models-dir", str(folder.parent))
    assert (done.code, done.out) == (2, "")
    assert f"{folder} (no transformers model: it lacks {lacks})" in done.err
    assert "to get them: remotemedia models fetch base --backend transformers --models-dir " in done.err
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).touch()
    done = remotemedia("models", "where", "base", "--models-dir", str(folder.parent))
    assert (done.code, done.out, done.err) == (0, f"{folder}\n", "")


def test_an_unknown_model_offers_the_nearest(remotemedia):
    done = remotemedia("models", "fetch", "bas")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("remotemedia: there is no model 'bas'; did you mean 'base'")


def test_a_download_that_fails_says_of_what_and_why(environment, tmp_path):
    pytest.importorskip("huggingface_hub", reason="needs the extra [whisper]")
    # Nobody listens on port 1.
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "remotemedia", "models", "fetch", "base"]
    done = subprocess.run(command, env=environment | nowhere, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "remotemedia: Systran/faster-whisper-base could not be fetched: " in done.stderr
    assert "Traceback" not in done.stderr
