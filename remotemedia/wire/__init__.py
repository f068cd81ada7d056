"""What both ends of the gRPC service share: data as it is on the wire."""

# May import: core.data, core.json_values, core.marks, errors, _telling
