"""The gRPC service."""

# May import: core.multiprocessing, core.data, audio, manifest, settings, monitoring, wire, errors, service.config,
#   _naming, _rules, _telling
