"""The few system calls of Linux that Python 3.11 has no name for."""

from __future__ import annotations

import ctypes
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)
_NEWNS, _NEWPID, _NEWNET = 0x00020000, 0x20000000, 0x40000000  # clone(2)
_PRIVATE = 0x00040000 | 0x4000  # mount(2): MS_PRIVATE | MS_REC
_PDEATHSIG = 1  # prctl(2)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    _check(_libc.prctl(_PDEATHSIG, signal.SIGKILL), "prctl")


def enter_network(path: str) -> None:
    """Move the calling thread, and threads and processes that it starts, into a network namespace.

    Sockets that it made before stay where they are.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _check(_libc.setns(descriptor, _NEWNET), f"setns {path}")
    finally:
        os.close(descriptor)


def new_processes() -> None:
    """Give the children of this process, from the next on, process ids of their own; and mounts."""
    _check(_libc.unshare(_NEWPID | _NEWNS), "unshare")


def mount_proc() -> None:
    """Let /proc show the processes of this namespace, to this process and its children alone."""
    _check(_libc.mount(b"none", b"/", None, _PRIVATE, None), "mount --make-rprivate /")
    _check(_libc.mount(b"proc", b"/proc", b"proc", 0, None), "mount /proc")
