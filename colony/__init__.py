"""Replicated sessions in memory, without a master.

    import colony

    store = colony.connect("tcp://127.0.0.1:7420")
    store.set("k", {"any": "object"}, ttl=1800)

Everything public is here; what needs ZeroMQ is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import importlib.util
import os.path
import sys
from typing import TYPE_CHECKING, Any

from colony.errors import (
    Closed,
    ClosureFailed,
    CodecError,
    ColonyError,
    Denied,
    Full,
    OutcomeUnknown,
    Refused,
    TooLarge,
    Unavailable,
    VersionConflict,
    WrongCluster,
)

if TYPE_CHECKING:
    from colony import aio
    from colony.drafts import KEEP, Entry
    from colony.host import Host
    from colony.session import Attributes, Session
    from colony.store import Store, connect
    from colony.watch import Event, Watch

_WHERE = {
    "Attributes": "colony.session",
    "Entry": "colony.drafts",
    "Event": "colony.watch",
    "Host": "colony.host",
    "KEEP": "colony.drafts",
    "Session": "colony.session",
    "Store": "colony.store",
    "Watch": "colony.watch",
    "connect": "colony.store",
}

__all__ = [
    "KEEP",
    "Attributes",
    "Closed",
    "ClosureFailed",
    "CodecError",
    "ColonyError",
    "Denied",
    "Entry",
    "Event",
    "Full",
    "Host",
    "OutcomeUnknown",
    "Refused",
    "Session",
    "Store",
    "TooLarge",
    "Unavailable",
    "VersionConflict",
    "Watch",
    "WrongCluster",
    "aio",
    "connect",
]


def _refuse_strangers() -> None:
    """Raise `ImportError` if another distribution's package shadows one of ours."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for name, suspect in (("agents", "openai-agents"), ("placement", "openstack-placement")):
        module = sys.modules.get(name)
        spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
        origin = (spec.origin if spec is not None else None) or "nowhere"
        if os.path.dirname(os.path.dirname(os.path.abspath(origin))) != home:
            raise ImportError(
                f"colony needs its own package {name!r}, but Python finds another one, at {origin} "
                f"(is {suspect} installed beside it?); give colony-engine a virtual environment of its own"
            )


_refuse_strangers()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("colony-engine")
    except PackageNotFoundError:
        return "0+unknown"


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    elif name == "aio":
        value = importlib.import_module("colony.aio")
    elif name == "__version__":
        value = _version()
    else:
        raise AttributeError(f"module 'colony' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
