"""The dashboard on a terminal: frames, keys, and pictures as SVG or text."""

from __future__ import annotations

import io
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live

from colony.dash import Figures, Scene, Size, render
from colony.dash_keys import Keys, keys_until
from colony.dash_watch import Watcher

FRAME_S = 0.3  # 2 to 4 frames a second: more would tell nobody more


def show(
    draw: Callable[[Size], RenderableType], press: Callable[[str], bool], alive: Callable[[], bool]
) -> None:
    """Draw frame after frame on the whole screen until it is over.

    Main thread only, and only where stdin and stdout are a terminal.

    Args:
        draw: Returns a frame for the size that the screen has now.
        press: Takes a key, and returns whether to go on.
        alive: Asked before each frame; False ends it.
    """
    console = Console()
    signal.signal(signal.SIGHUP, _end)  # the terminal is gone, or will be: leave it as it was
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)
    with Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        while alive():
            live.update(draw(Size(*console.size)), refresh=True)
            for key in keys_until(keys.read, FRAME_S):
                if not press(key):
                    return


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def on_terminal() -> bool:
    """Return whether there is a person in front, with a keyboard."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def as_text(frame: RenderableType, size: Size) -> str:
    """Return a frame as plain text."""
    console = _recorder(size)
    console.print(frame)
    return console.export_text()


def as_svg(frame: RenderableType, size: Size, title: str = "colony top") -> str:
    """Return a frame as a picture of a terminal."""
    console = _recorder(size)
    console.print(frame)
    return console.export_svg(title=title)


def _recorder(size: Size) -> Console:
    return Console(
        record=True,
        file=io.StringIO(),
        width=size.width,
        height=size.height,
        force_terminal=True,
        color_system="truecolor",
    )


class Top:
    """`colony top`: the cluster as it is, drawn until `q`."""

    def __init__(self, connect: Callable[..., Any], addresses: list[str]) -> None:
        self._watcher = Watcher(connect, addresses)
        self._scroll = 0

    def run(self) -> None:
        """Draw until `q` is typed."""
        self._watcher.start()
        try:
            show(self.draw, self.press, lambda: True)
        finally:
            self._watcher.close()

    def once(self, size: Size) -> RenderableType | None:
        """Return one frame, from two looks; None = no host answered."""
        self._watcher.look()
        if self._watcher.picture.status is None:
            return None
        time.sleep(1.0)  # two answers make a rate
        self._watcher.look()
        return self.draw(size)

    def press(self, key: str) -> bool:
        """Scroll or quit."""
        if key in ("up", "down"):
            self._scroll = max(0, self._scroll + (1 if key == "down" else -1))
        return key not in ("q", "Q")

    def draw(self, size: Size) -> RenderableType:
        """Return the frame of now."""
        picture = self._watcher.picture
        scene = Scene(
            figures=Figures(ops_s=picture.writes_s, writes_only=True),
            age_s=picture.age_s(time.monotonic()),
            scroll=self._scroll,
            outlook=picture.outlook,
        )
        return render(picture.status, picture.events, size, scene)
