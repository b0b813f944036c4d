"""Every change of every session, as it happens."""

from __future__ import annotations

import sys

import colony


def main(addresses: str = "tcp://127.0.0.1:7420", prefix: str = "") -> None:
    """Print changes until ctrl-c."""
    with colony.connect(addresses) as store:
        for event in store.watch(prefix=prefix):
            print(event, flush=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except KeyboardInterrupt:
        pass
    except colony.ColonyError as error:
        sys.exit(f"{type(error).__name__}: {error}; is `colony up` running?")
