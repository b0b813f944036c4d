"""A thread of its own, for what must not run in the main one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def beside(call: Callable[[], Any]) -> Any:
    """Run in a thread of its own, and return what it returned."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(10)
    assert found, "it did not end"
    return found[0]
