"""Outbid: whose copies go from a host where room is short.

The price of room is what its lack would cost: a colony with fewer copies
needs one more than one that has more. What is still coming goes before what
is there; and nobody gives a copy up to be worse off than the one who gets it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Tenant(NamedTuple):
    """A copy on a host that is no primary.

    Attributes:
        colony: Whose it is.
        have: ACTIVE copies of that colony, everywhere.
        bytes_used: What it takes, or was promised.
        arrives: It is being cloned, and counts for nobody yet.
    """

    colony: int
    have: int
    bytes_used: int
    arrives: bool


def outbid(colony: int, have: int, bytes_short: int, tenants: Iterable[Tenant]) -> tuple[Tenant, ...]:
    """Return whose copies are to go for one more copy of a colony, those with the most copies first.

    Args:
        colony: Who asks for room.
        have: ACTIVE copies that it has; >= 0.
        bytes_short: Bytes that are missing.
        tenants: Copies on this host, primaries left out.

    Returns:
        As many as make the room, or () if those that may go don't suffice.
    """
    may_go = [
        tenant
        for tenant in tenants
        # One that is there leaves its colony with at least as many copies as the asker will have then.
        if tenant.colony != colony and tenant.have > (have if tenant.arrives else have + 1)
    ]
    may_go.sort(key=lambda one: (not one.arrives, -one.have, -one.bytes_used, one.colony))
    found: list[Tenant] = []
    for tenant in may_go:
        if bytes_short <= 0:
            break
        found.append(tenant)
        bytes_short -= tenant.bytes_used
    return tuple(found) if bytes_short <= 0 else ()
