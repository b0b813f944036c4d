"""The registry of a supervisor: what runs on this box, for whoever looks after it next.

One JSON file in its state directory, replaced atomically; a lock beside it
keeps a second supervisor out.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.services import Kept, Service, service_of

FORMAT = 1
FILE = "supervise.json"
BYTES_MAX = 1 << 20


class RegistryError(Exception):
    """A state directory that can't be used; the text says why, and what to do."""


@dataclass(slots=True)
class Card:
    """The supervisor itself, as its registry describes it.

    Attributes:
        life: Names this run of it.
        ended: It ended in good order, with this exit status; None = it has not.
        command: What starts it again, in `cwd`, with `environment` besides.
    """

    name: str
    machine: str = ""
    pid: int = 0
    started_s: float = 0.0
    life: int = 0
    ended: int | None = None
    command: list[str] = field(default_factory=list)
    cwd: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {name: getattr(self, name) for name in self.__slots__}


def read(folder: Path) -> tuple[Card, list[Service]] | None:
    """Return what a state directory says of its supervisor; None = it never had one.

    Raises:
        RegistryError: It can't be read or trusted: it names commands that are run.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (os.geteuid(), 0):
                raise RegistryError(f"others may write to {path}: chown it to this user, and chmod 600")
            told = json.loads(file.read(BYTES_MAX))
        if told["format"] != FORMAT:
            raise RegistryError(f"{path} is of format {told['format']}: a later release wrote it")
        known = {name: told["supervisor"][name] for name in Card.__slots__}
        return Card(**known), [service_of(kept) for kept in told["services"]]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RegistryError(f"can't read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        todo = "if no host of it runs any more, move it away"
        raise RegistryError(f"{path} makes no sense ({error}): {todo}") from None


def kept_of(found: tuple[Card, list[Service]] | None, machine: str) -> Kept:
    """Return what the core wants to know of it."""
    if found is None:
        return Kept()
    card, services = found
    is_here = bool(machine) and card.machine == machine
    return Kept(tuple(services), is_here=is_here, ended=card.ended is not None)


class Registry:
    """The registry of one running supervisor; one thread.

    Raises:
        RegistryError: Another supervisor uses the directory, or nobody can.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "supervise.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RegistryError(f"can't use {folder}: {error.strerror}; choose another --state-dir") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise RegistryError(f"another supervisor looks after {folder} already: see colony ps") from None

    def save(self, card: Card, services: Iterable[Service]) -> None:
        """Replace the file; raises `RegistryError` if that fails."""
        told = {
            "format": FORMAT,
            "supervisor": card.as_json(),
            "services": [service.as_json() for service in services],
        }
        fresh = self.folder / f".{FILE}"
        try:
            file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "w") as out:
                json.dump(told, out, indent=1)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(self.folder / FILE)
        except OSError as error:
            raise RegistryError(f"can't write {self.folder / FILE}: {error.strerror}") from None

    def close(self) -> None:
        """Let the next one in."""
        os.close(self._lock)
