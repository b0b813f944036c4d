"""Three applications, each of them a host: no server to run beside them.

Run it: it starts the two others by itself, and shows that all read what the
first one wrote. At the end they leave one after the other.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

import colony

ADDRESSES = ("tcp://127.0.0.1:7520", "tcp://127.0.0.1:7521", "tcp://127.0.0.1:7522")


def application(number: int, others: Sequence[subprocess.Popen[bytes]] = ()) -> None:
    """Be one application of three; the first one outlasts the others."""
    join = [address for address in ADDRESSES if address != ADDRESSES[number]]
    with colony.Host(ADDRESSES[number], name=f"app{number}", join=join, expect=len(ADDRESSES)) as host:
        host.wait_ready()
        store = host.store()
        if number == 0:
            store.set("greeting", "hello from app0")
        while (greeting := store.get("greeting")) is None:
            time.sleep(0.05)
        print(f"app{number} reads: {greeting}", flush=True)
        for process in others:
            process.wait()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        application(int(sys.argv[1]))
    else:
        rest = [subprocess.Popen([sys.executable, __file__, str(number)]) for number in (1, 2)]
        try:
            application(0, rest)
        finally:
            for process in rest:
                process.terminate()
