"""Keys, and the colony that a key belongs to.

Every host and every client must agree on it, for the whole life of a
cluster: the hash is part of the wire protocol.
"""

from __future__ import annotations

from zlib import crc32


def colony_of(key: bytes, colonies: int) -> int:
    """Return the colony of a key.

    Args:
        key: 1 to 1,024 bytes.
        colonies: How many colonies `init` made; >= 1.

    Returns:
        A number in [0, `colonies`); the same in every process and release.
    """
    # CRC-32 spreads keys that differ in few bits, and costs a tenth of a
    # microsecond; a cryptographic hash would cost ten times that on each call.
    return crc32(key) % colonies
