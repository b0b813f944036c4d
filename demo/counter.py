"""A counter that many threads raise: `mutate` runs where the cell lives, once.

However many hosts die meanwhile, the sum is right at the end.
"""

from __future__ import annotations

import sys
import threading

import colony

THREADS, TIMES = 8, 250


def main(addresses: str = "tcp://127.0.0.1:7420") -> None:
    """Count from several threads, and compare."""
    with colony.connect(addresses, timeout=30) as store:
        store.set("demo/counter", 0)

        def count() -> None:
            for _ in range(TIMES):
                store.mutate("demo/counter", lambda value: value + 1)

        threads = [threading.Thread(target=count) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"{store.get('demo/counter')} of {THREADS * TIMES}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except colony.ColonyError as error:
        sys.exit(f"{type(error).__name__}: {error}; is `colony up` running?")
