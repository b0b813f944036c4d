"""Three hosts, one session, and the death of the host that had it."""

from __future__ import annotations

import time

import colony

ADDRESSES = [f"tcp://127.0.0.1:{port}" for port in (7520, 7521, 7522)]


def main() -> None:
    """Run it: `.venv/bin/python demo/one_dies.py`."""
    hosts = {
        f"h{number}": colony.Host(
            address, name=f"h{number}", join=ADDRESSES, expect=3, labels={"box": f"b{number}"}
        )
        for number, address in enumerate(ADDRESSES, 1)
    }
    for host in hosts.values():
        host.start()
    for host in hosts.values():
        host.wait_ready()
    with colony.connect(ADDRESSES) as store:
        while not store.admin("status", {})["safe"]:  # until every colony has its second copy
            time.sleep(0.05)
        with store.session("sid-4711", ttl=1800) as session:
            session["cart"] = ["apples", "pears"]
        holder = store.admin("where", {"key": "sid-4711"})["primary"]
        print(f"the session's primary is on {holder}; it dies now")
        hosts[holder].close()  # at once, as if the process had died
        died_s = time.monotonic()
        with store.session("sid-4711", ttl=1800) as session:
            session["cart"] = [*session["cart"], "plums"]
        print(f"{time.monotonic() - died_s:.2f} s later its cart holds {store['sid-4711']['cart']}")
    for host in hosts.values():
        host.close()


if __name__ == "__main__":
    main()
