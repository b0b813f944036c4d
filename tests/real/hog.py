"""A hog: eats CPU, and memory until so little is left: `python -m tests.real.hog USED_FILE LIMIT LEFT`.

What others in its control group take, it gives back: the group stays just
short of its limit, and nobody is killed for it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

BITE = 1 << 20
LOOK_S = 0.02


def main(used_file: Path, limit: int, left: int) -> None:
    """Eat until ended."""
    eaten: list[bytearray] = []
    while True:
        used = int(used_file.read_text())
        if used < limit - left - BITE:
            eaten.append(bytearray(b"\1") * BITE)
            continue
        while eaten and used > limit - left:
            eaten.pop()
            used -= BITE
        until_s = time.monotonic() + LOOK_S
        while time.monotonic() < until_s:
            pass


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
