"""Audio files, and WAV in pipes, as the command line and the nodes read and write them."""

# May import: _drafts
