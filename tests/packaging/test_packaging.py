"""What a user installs: the sdist builds a wheel, and the wheel holds the wire under the names that clients import."""

import email
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LEGAL = ("LICENSE", "NOTICE")
# Of the text as the Apache Software Foundation has it, with its blanks for year and owner.
APACHE_2_0 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"

ON_THE_WIRE = """
import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import remotemedia_v1_pb2 as pb
import remotemedia_v1_pb2_grpc as pb_grpc

class Both(pb_grpc.PipelineExecutionServiceServicer, pb_grpc.StreamingPipelineServiceServicer):
    def ExecutePipeline(self, request, context):
        return pb.ExecuteResponse(error=pb.ErrorResponse(message=request.nodes[0].params["voice"]))

    def GetVersion(self, request, context):
        return pb.VersionResponse(compatibility_message=request.client_version)

    def StreamPipeline(self, requests, context):
        for request in requests:
            yield pb.StreamResponse(closed=pb.StreamClosed(session_id=request.data_chunk.node_id))

server = grpc.server(ThreadPoolExecutor(4))
pb_grpc.add_PipelineExecutionServiceServicer_to_server(Both(), server)
pb_grpc.add_StreamingPipelineServiceServicer_to_server(Both(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()

chunks = [pb.StreamRequest(data_chunk=pb.DataChunk(node_id=name)) for name in ("a", "b")]
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    calls, streams = pb_grpc.PipelineExecutionServiceStub(channel), pb_grpc.StreamingPipelineServiceStub(channel)
    nodes = [{"id": "tts", "params": {"voice": "sarah"}}]
    print(json.dumps({
        "files": [pb.__file__, pb_grpc.__file__],
        "execute": calls.ExecutePipeline(pb.ExecuteRequest(nodes=nodes)).error.message,
        "version": calls.GetVersion(pb.VersionRequest(client_version="test-v1.0")).compatibility_message,
        "streams": [[answer.closed.session_id for answer in stub.StreamPipeline(iter(chunks))]
                    for stub in (calls, streams)],
    }))
server.stop(None).wait()
"""


def run(*arguments, **options):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist that is built of this checkout."""
    folder = tmp_path_factory.mktemp("packaging")
    source, built = (folder / name for name in ("source", "sdist"))
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "_ring.c")
    shutil.copytree(REPOSITORY / "remotemedia", source / "remotemedia", ignore=unwanted)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", *LEGAL):
        shutil.copy(REPOSITORY / name, source)
    run("setup.py", "-q", "sdist", "-d", built, cwd=source)
    (archive,) = built.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The wheel that pip builds of the sdist."""
    built = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run("-m", "pip", "wheel", "-q", *options, "-w", built, sdist)
    (path,) = built.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(folder)
    return folder


def test_the_wheel_holds_the_wire_once(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert sorted(name for name in names if "_pb2" in name or ".proto" in name or "_loader/" in name) == [
        "remotemedia/service/for_proto_loader/README.md",
        "remotemedia/service/for_proto_loader/remotemedia.proto",
        "remotemedia/service/remotemedia_v1.proto",
        "remotemedia_v1_pb2-stubs/__init__.pyi",
        "remotemedia_v1_pb2.py",
        "remotemedia_v1_pb2_grpc.py",
    ]
    assert {name.partition("/")[0].partition("-")[0].removesuffix(".py") for name in names} == {
        "remotemedia",
        "remotemedia_v1_pb2",
        "remotemedia_v1_pb2_grpc",
    }


def test_both_archives_hold_the_license(wheel, sdist):
    with zipfile.ZipFile(wheel) as content:
        (folder,) = {name.partition("/")[0] for name in content.namelist() if ".dist-info/" in name}
        in_wheel = [content.read(f"{folder}/licenses/{name}") for name in LEGAL]
        metadata = email.message_from_bytes(content.read(f"{folder}/METADATA"))
    with tarfile.open(sdist) as content:
        top = sdist.name.removesuffix(".tar.gz")
        in_sdist = [content.extractfile(f"{top}/{name}").read() for name in LEGAL]
    assert in_wheel == in_sdist == [(REPOSITORY / name).read_bytes() for name in LEGAL]
    text = in_wheel[0].replace(b"2026 The remotemedia authors", b"[yyyy] [name of copyright owner]")
    assert text != in_wheel[0] and hashlib.sha256(text).hexdigest() == APACHE_2_0
    assert (metadata["License-Expression"], metadata["Author"]) == ("Apache-2.0", "The remotemedia authors")
    assert metadata.get_all("License-File") == [*LEGAL]
    assert "Project-URL" not in metadata and "Home-page" not in metadata


def test_the_notice_has_everything_that_extras_install():
    """NOTICE must name each library of an extra; it may name those that are only for tests as a group."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name != "dev"}
    notice = (REPOSITORY / "NOTICE").read_text()
    sections = re.split(r"^(?=Extra |Always )", notice, flags=re.MULTILINE)[1:]
    for title, wanted in {"Always installed": project["dependencies"], **extras}.items():
        (section,) = (each for each in sections if each.startswith((title, f'Extra "{title}"')))
        told = {name.lower() for name in re.findall(r"[\w.-]+", section)}
        assert {re.match(r"[\w.-]+", each)[0].lower() for each in wanted} <= told, title


def test_the_generated_classes_serve_and_call(installed):
    said = run("-W", "error", "-c", ON_THE_WIRE, cwd=installed, env=os.environ | {"PYTHONPATH": str(installed)})
    assert json.loads(said) == {
        "files": [str(installed / name) for name in ("remotemedia_v1_pb2.py", "remotemedia_v1_pb2_grpc.py")],
        "execute": "sarah",
        "version": "test-v1.0",
        "streams": [["a", "b"], ["a", "b"]],
    }
