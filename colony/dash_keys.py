"""Keys typed at a terminal, read without waiting for Enter or for anybody."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from types import TracebackType

_ESCAPES = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}
BURST_BYTES = 1024  # of one read: somebody leans on the keyboard


class Keys:
    """A context in which the terminal hands over each key as it is typed.

    Main thread only. The terminal is set back at the end whatever happened.

    Args:
        descriptor: Of the terminal; None = stdin.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._before: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> Keys:
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def read(self, timeout_s: float) -> list[str]:
        """Return the keys typed by now; waits up to `timeout_s` for the first.

        A terminal that is gone counts as `q`.
        """
        try:
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, timeout_s))
            if not ready:
                return []
            typed = os.read(self._descriptor, BURST_BYTES)
        except InterruptedError:
            return []
        except OSError:
            return ["q"]
        return split(typed) if typed else ["q"]


def split(typed: bytes) -> list[str]:
    """Return the keys in what a terminal sent; unknown sequences are dropped."""
    keys = []
    while typed:
        if typed.startswith(b"\x1b"):
            for sequence, name in _ESCAPES.items():
                if typed.startswith(sequence):
                    keys.append(name)
                    break
            typed = typed[3:]
            continue
        keys.append(typed[:1].decode("latin-1"))
        typed = typed[1:]
    return keys


def keys_until(read: Callable[[float], list[str]], frame_s: float) -> list[str]:
    """Return as soon as keys came, or when the time of one frame is over."""
    end_s = time.monotonic() + frame_s
    while True:
        left_s = end_s - time.monotonic()
        keys = read(max(0.0, left_s))
        if keys or left_s <= 0:
            return keys
