"""Keys as users write them, and as they travel."""

from __future__ import annotations

from typing import TypeVar

from agents.fields import KEY_BYTES_MAX

Key = str | bytes
K = TypeVar("K", bound=str | bytes)


def key_bytes(key: Key) -> bytes:
    """Return a key as it travels; text as UTF-8, so `"k"` and `b"k"` are one key.

    Raises:
        TypeError: It is neither str nor bytes.
        ValueError: It is empty, longer than 1,024 bytes, or no valid text.
    """
    if type(key) is str:
        data = key.encode()
    elif isinstance(key, bytes):
        data = key
    elif isinstance(key, str):
        data = key.encode()
    else:
        raise TypeError(f"a key is str or bytes, not {type(key).__name__}")
    if not 0 < len(data) <= KEY_BYTES_MAX:
        raise ValueError(f"a key has 1 to {KEY_BYTES_MAX} bytes, this has {len(data)}")
    return data


def prefix_bytes(prefix: Key) -> bytes:
    """Return a prefix of keys as it travels; "" stands for all keys."""
    return key_bytes(prefix) if prefix != "" and prefix != b"" else b""


def key_shown(data: bytes) -> Key:
    """Return a key as users get it: str if it is UTF-8, else bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
