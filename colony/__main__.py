"""`python -m colony`: the same as the `colony` command."""

from __future__ import annotations

import sys

from colony.cli import main

if __name__ == "__main__":
    sys.exit(main())
