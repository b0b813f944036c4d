"""Sessions of a web shop: only what changed travels, and it outlives hosts.

Start a cluster with `colony up` in another terminal, then run this. Kill
hosts over there as you like: the cart stays.
"""

from __future__ import annotations

import sys
import time

import colony


def main(addresses: str = "tcp://127.0.0.1:7420") -> None:
    """Put something into the cart once a second, for ever."""
    with colony.connect(addresses) as store:
        while True:
            began_s = time.perf_counter()
            with store.session("shop/alice", ttl=1800) as session:
                session["cart"] = [*session.get("cart", []), "a book"][-10:]
                session["visits"] = session.get("visits", 0) + 1
            took_ms = (time.perf_counter() - began_s) * 1000
            print(f"visit {session['visits']}, {len(session['cart'])} in the cart, {took_ms:.1f} ms")
            time.sleep(1)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except KeyboardInterrupt:
        pass
    except colony.ColonyError as error:
        sys.exit(f"{type(error).__name__}: {error}; is `colony up` running?")
