"""Ports for hosts of tests: such as nobody else's connections take meanwhile.

The kernel gives the ports above its own floor to every connection that is
begun. A host whose port was found there finds it taken at times: before it
starts, or between its death and its return.
"""

from __future__ import annotations

import random

from colony.up_processes import is_free

FIRST, COUNT = 10_000, 11_000
LINK_ABOVE = 10_000  # where a host puts its link's port if that is free; Linux's floor is 32,768
TRIES_MAX = 1_000

_given: set[int] = set()
_chance = random.SystemRandom()  # the tests' own generator gives the same to all that run at once


def free_port() -> int:
    """Return a loopback port that nobody listens on, and which this process was not given before."""
    for _ in range(TRIES_MAX):
        port = FIRST + _chance.randrange(COUNT)
        if port not in _given and is_free(port) and is_free(port + LINK_ABOVE):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port from {FIRST} to {FIRST + COUNT}")
