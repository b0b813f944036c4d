"""Errors that a user of colony may meet, all under `ColonyError`."""

from __future__ import annotations

from typing import Any


class ColonyError(Exception):
    """Anything that colony itself refuses, or can't do.

    Attributes:
        failed: Of a call for many keys: key -> its own error.
    """

    failed: dict[Any, ColonyError] | None = None


class Unavailable(ColonyError):
    """The call could not be served in time; nothing was applied."""


class OutcomeUnknown(ColonyError):
    """Time ran out after sending: the change was applied once, or not at all."""


class VersionConflict(ColonyError):
    """The cell is not as it was expected to be.

    Attributes:
        version: The cell's version now; 0 = there is no cell.
    """

    def __init__(self, text: str, version: int = 0) -> None:
        super().__init__(text)
        self.version = version


class TooLarge(ColonyError, ValueError):
    """The value has more bytes than the cluster takes."""


class Full(ColonyError):
    """The host's memory limit is reached; nothing was applied."""


class Denied(ColonyError):
    """This connection may not do that."""


class WrongCluster(ColonyError):
    """The host belongs to another cluster than the one connected to."""


class CodecError(ColonyError, ValueError):
    """The store's codec can't write this value, or can't read this cell."""


class ClosureFailed(ColonyError):
    """The function given to `mutate` raised; nothing was applied.

    Its own exception, where it can travel, is the `__cause__`.
    """


class Refused(ColonyError):
    """A host found no sense in the request; nothing was applied."""


class Closed(ColonyError):
    """The store, the host or the watch was closed before."""
