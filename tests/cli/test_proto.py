"""``remotemedia proto``: byte for byte what the service speaks, on stdout and in files, without grpc."""

import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[2] / "remotemedia" / "service"
FORMS = {(): SERVICE / "remotemedia_v1.proto", ("--node",): SERVICE / "for_proto_loader" / "remotemedia.proto"}

pytestmark = pytest.mark.usefixtures("leak_check")


@pytest.fixture(params=FORMS.items(), ids=["protoc", "node"])
def form(request):
    return request.param


def test_it_is_printed(remotemedia, form):
    options, source = form
    done = remotemedia("proto", *options)
    assert (done.code, done.out, done.err) == (0, source.read_text(), "")


@pytest.mark.parametrize("output", [".", "there", "mine.proto"])
def test_it_is_written(remotemedia, tmp_path, form, output):
    options, source = form
    (tmp_path / "there").mkdir()
    done = remotemedia("proto", *options, "-o", output)
    written = tmp_path / (output if output == "mine.proto" else f"{output}/{source.name}")
    assert (done.code, done.out, done.err) == (0, f"{written.relative_to(tmp_path)}\n", "")
    assert written.read_bytes() == source.read_bytes()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [written]


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("none/a.proto", "there is no folder none"),
        # Not even root can make a file there.
        ("/proc/a.proto", ""),
        ("/proc", ""),
    ],
)
def test_what_cannot_be_written(remotemedia, tmp_path, output, why):
    done = remotemedia("proto", "-o", output)
    assert (done.code, done.out) == (2, "")
    path = "/proc/remotemedia_v1.proto" if output == "/proc" else output
    assert done.err.startswith(f"remotemedia: the .proto cannot be written to {path}: {why}")
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_it_needs_no_grpc(form):
    options, source = form
    code = (
        "import sys; sys.modules |= dict.fromkeys(['grpc', 'google.protobuf', 'remotemedia_v1_pb2'])\n"
        f"from remotemedia.cli import main; sys.exit(main(['proto', *{options}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, source.read_bytes(), b"")
