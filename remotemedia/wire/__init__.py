"""What both ends of the gRPC service share: data as it is on the wire."""

# May import: core.multiprocessing, core.data, core.json_values, core.marks, errors, _telling
