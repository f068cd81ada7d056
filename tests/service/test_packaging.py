"""What a user installs: the sdist builds a wheel, and the wheel holds the wire under the names that clients import."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

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
def wheel(tmp_path_factory):
    """The wheel that pip builds of the sdist that is built of this checkout."""
    folder = tmp_path_factory.mktemp("packaging")
    source, sdist, built = (folder / name for name in ("source", "sdist", "built"))
    unwanted = shutil.ignore_patterns("__pycache__", "*.so", "_ring.c")
    shutil.copytree(REPOSITORY / "remotemedia", source / "remotemedia", ignore=unwanted)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md"):
        shutil.copy(REPOSITORY / name, source)
    run("setup.py", "-q", "sdist", "-d", sdist, cwd=source)
    (archive,) = sdist.iterdir()
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run("-m", "pip", "wheel", "-q", *options, "-w", built, archive)
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


def test_the_generated_classes_serve_and_call(installed):
    said = run("-W", "error", "-c", ON_THE_WIRE, cwd=installed, env=os.environ | {"PYTHONPATH": str(installed)})
    assert json.loads(said) == {
        "files": [str(installed / name) for name in ("remotemedia_v1_pb2.py", "remotemedia_v1_pb2_grpc.py")],
        "execute": "sarah",
        "version": "test-v1.0",
        "streams": [["a", "b"], ["a", "b"]],
    }
