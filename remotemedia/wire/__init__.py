"""What both ends of the gRPC service share: data as it is on the wire."""
