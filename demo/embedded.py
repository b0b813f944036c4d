"""Three applications, each of them a host: no server to run beside them.

Run it; it starts the two others by itself, and shows that what one wrote
the next one reads.
"""

from __future__ import annotations

import subprocess
import sys
import time

import colony

PORTS = (7520, 7521, 7522)


def application(number: int) -> None:
    """Be one application of three."""
    addresses = [f"tcp://127.0.0.1:{port}" for port in PORTS]
    others = [address for address in addresses if address != addresses[number]]
    with colony.Host(name=f"app{number}", listen=addresses[number], join=others, expect=3) as host:
        host.wait_ready(30)
        store = host.store()
        if number == 0:
            store.set("greeting", "hello from app0")
        while store.get("greeting") is None:
            time.sleep(0.05)
        print(f"app{number} reads: {store.get('greeting')}", flush=True)
        time.sleep(1)  # the others want to read it too


if __name__ == "__main__":
    if len(sys.argv) > 1:
        application(int(sys.argv[1]))
    else:
        rest = [subprocess.Popen([sys.executable, __file__, str(number)]) for number in (1, 2)]
        try:
            application(0)
        finally:
            for process in rest:
                process.terminate()
                process.wait()
