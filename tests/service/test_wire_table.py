"""The wire that other servers and clients share, wire.txt, is in our .proto; what is ours keeps out of its way.

A line of wire.txt is ``Message.field NUMBER TYPE LABEL`` or ``Enum.VALUE NUMBER``.
"""

from pathlib import Path

import pytest
import remotemedia_v1_pb2 as pb
from google.protobuf import descriptor_pb2

TABLE = Path(__file__).with_name("wire.txt").read_text().splitlines()
# The wire carries no names, and the good one went to the Struct.
RENAMED = {"NodeManifest.params_json": "NodeManifest.params"}
OURS_ALONE = {"NodePython", "InitProgress", "Interrupted", "InterruptRequest", "Heard", "Position", "TurnDone"}
FIRST_OF_OURS = 101

METHODS = {
    "PipelineExecutionService": {
        "ExecutePipeline": ("ExecuteRequest", "ExecuteResponse", False, False),
        "GetVersion": ("VersionRequest", "VersionResponse", False, False),
        "StreamPipeline": ("StreamRequest", "StreamResponse", True, True),
        "InterruptStream": ("InterruptRequest", "Interrupted", False, False),
    },
    "StreamingPipelineService": {"StreamPipeline": ("StreamRequest", "StreamResponse", True, True)},
}


def described():
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    return file


def type_name(field):
    return field.type_name.removeprefix(".remotemedia.v1.") or field.Type.Name(field.type).removeprefix("TYPE_").lower()


def line_of(field, message):
    name = f"{message.name}.{field.name}"
    kind, label = type_name(field), "singular"
    entries = [entry for entry in message.nested_type if kind == f"{message.name}.{entry.name}"]
    if entries and entries[0].options.map_entry:
        kind, label = f"map<{','.join(map(type_name, entries[0].field))}>", "map"
    elif field.label == field.LABEL_REPEATED:
        label = "repeated"
    elif field.proto3_optional:
        label = "optional"
    elif field.HasField("oneof_index"):
        label = f"oneof {message.oneof_decl[field.oneof_index].name}"
    return f"{RENAMED.get(name, name)} {field.number} {kind} {label}"


def lines_of(file):
    for message in file.message_type:
        yield from (line_of(field, message) for field in message.field)
        for enum in message.enum_type:
            yield from (f"{message.name}.{enum.name}.{value.name} {value.number}" for value in enum.value)
    for enum in file.enum_type:
        yield from (f"{enum.name}.{value.name} {value.number}" for value in enum.value)


def faults(file):
    lines = list(lines_of(file))
    missing = [f"missing: {line}" for line in TABLE if line not in lines]
    more = (line for line in lines if line not in TABLE and line.partition(".")[0] not in OURS_ALONE)
    return missing + [f"too low: {line}" for line in more if int(line.split()[1]) < FIRST_OF_OURS]


def test_the_table_is_whole():
    assert len(TABLE) == len(set(TABLE)) == 240
    assert not OURS_ALONE & {line.partition(".")[0] for line in TABLE}


def test_every_line_is_on_our_wire_and_ours_keeps_out_of_its_way():
    assert faults(described()) == []


COMMAND = "StreamControl.Command.COMMAND_"


def message(file, name):
    return next(message for message in file.message_type if message.name == name)


def renumber(file):
    message(file, "DataChunk").field[3].number = 6


def retype(file):
    field = message(file, "AudioBuffer").field[4]
    field.type = field.TYPE_UINT32


def lose_presence(file):
    message(file, "AudioBuffer").field[5].ClearField("proto3_optional")
    message(file, "AudioBuffer").field[5].ClearField("oneof_index")


def leave_a_oneof(file):
    message(file, "ExecuteResponse").field[0].ClearField("oneof_index")


def repeat(file):
    field = message(file, "VersionInfo").field[0]
    field.label = field.LABEL_REPEATED


def change_a_map(file):
    field = message(file, "DataBuffer").nested_type[0].field[1]
    field.type = field.TYPE_BYTES


def remove(file):
    del message(file, "StreamErrorResponse").field[3]


def swap_values(file):
    values = message(file, "StreamControl").enum_type[0].value
    values[1].number, values[2].number = 2, 1


def add_low(file):
    message(file, "VideoFrame").field[-1].number = 100


def add_a_low_value(file):
    message(file, "StreamControl").enum_type[0].value[3].number = 3


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (renumber, ["missing: DataChunk.sequence 4 uint64 singular", "too low: DataChunk.sequence 6 uint64 singular"]),
        (retype, ["missing: AudioBuffer.num_samples 5", "too low: AudioBuffer.num_samples 5 uint32 singular"]),
        (lose_presence, ["missing: AudioBuffer.metadata_json 6 bytes optional", "too low: AudioBuffer.meta"]),
        (leave_a_oneof, ["missing: ExecuteResponse.result 1 ExecutionResult oneof outcome", "too low: Execute"]),
        (repeat, ["missing: VersionInfo.protocol_version 1 string singular", "too low: VersionInfo"]),
        (change_a_map, ["missing: DataBuffer.metadata 10", "too low: DataBuffer.metadata 10 map<string,bytes> map"]),
        (remove, ["missing: StreamErrorResponse.session_id 4 string singular"]),
        (swap_values, [f"missing: {COMMAND}CLOSE 1", f"missing: {COMMAND}CANCEL 2",
                       f"too low: {COMMAND}CLOSE 2", f"too low: {COMMAND}CANCEL 1"]),
        (add_low, ["too low: VideoFrame.fps 100 double singular"]),
        (add_a_low_value, [f"too low: {COMMAND}INTERRUPT 3"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_the_table_bites(change, found):
    file = described()
    change(file)
    wrong = faults(file)
    assert len(wrong) == len(found)
    assert all(line.startswith(start) for line, start in zip(wrong, found, strict=True))


def test_services_and_methods():
    file = described()
    assert (file.package, file.syntax) == ("remotemedia.v1", "proto3")
    assert {
        service.name: {
            method.name: (
                *(name.removeprefix(".remotemedia.v1.") for name in (method.input_type, method.output_type)),
                method.client_streaming,
                method.server_streaming,
            )
            for method in service.method
        }
        for service in file.service
    } == METHODS
