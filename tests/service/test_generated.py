"""What is generated from remotemedia_v1.proto is what the source says today."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SERVICE = REPOSITORY / "remotemedia" / "service"
GENERATED = [
    "_generated/remotemedia_v1_pb2.py",
    "_generated/remotemedia_v1_pb2.pyi",
    "_generated/remotemedia_v1_pb2_grpc.py",
    "for_proto_loader/remotemedia.proto",
]


@pytest.fixture(scope="module")
def anew(tmp_path_factory):
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed")
    folder = tmp_path_factory.mktemp("generated")
    script = REPOSITORY / "tools" / "generate_wire.py"
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def test_all_that_is_generated_is_known(anew):
    assert sorted(str(path.relative_to(anew)) for path in anew.rglob("*") if path.is_file()) == sorted(GENERATED)


@pytest.mark.parametrize("name", GENERATED)
def test_fresh(anew, name):
    assert (SERVICE / name).read_bytes() == (anew / name).read_bytes(), "stale: run `make proto`"


@pytest.mark.parametrize("name", GENERATED)
def test_marked_as_generated(name):
    assert "enerated" in "".join((SERVICE / name).read_text().splitlines(keepends=True)[:2])


def test_the_form_for_proto_loader_differs_in_two_names():
    root = json.loads((SERVICE / "for_proto_loader/remotemedia.proto").read_text())
    ours = root["nested"]["remotemedia"]["nested"]["v1"]["nested"]
    text_by_name = {"keyType": "string", "type": "string", "id": 102}
    for message, name in (("NodeManifest", "params"), ("ManifestMetadata", "multiprocess")):
        fields = ours[message]["fields"]
        assert fields[name] == text_by_name
        assert fields[f"{name}_struct"] == {"type": "google.protobuf.Struct", "id": 101}
        assert f"{name}_map" not in fields
    written_out = root["nested"]["google"]["nested"]["protobuf"]["nested"]
    assert set(written_out) == {"Struct", "Value", "ListValue", "NullValue"}
