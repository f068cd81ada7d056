"""``python -m remotemedia``: the same as the command ``remotemedia``."""

# May import: cli

import sys

from remotemedia.cli import main

if __name__ == "__main__":
    sys.exit(main())
