"""Endpoints: where a host listens, and where others reach it."""

from __future__ import annotations

import ipaddress

from agents.curve import HostKeys
from agents.link import Door
from placement import probe

# The link's port is the public one plus this, if that is free: firewalls can name it.
LINK_PORTS_ABOVE = 10_000


def endpoint(text: str) -> str:
    """Return an address to listen on as sockets want it; raises `TypeError`, `ValueError` if it is none."""
    if not isinstance(text, str):
        raise TypeError(f"an address is a str, not {type(text).__name__}")
    host, colon, port = text.removeprefix("tcp://").rpartition(":")
    is_port = port == "*" or (port.isdecimal() and int(port) < 65536)
    if not text.startswith("tcp://") or not colon or not host or not is_port:
        raise ValueError(f"{text!r} is no address to listen on, such as tcp://127.0.0.1:7420")
    return f"tcp://{host}:{'*' if port == '0' else port}"


def is_loopback(address: str) -> bool:
    """Return whether nobody but this machine can connect there."""
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable(address: str) -> str:
    """Return an endpoint that others can connect to: a wildcard becomes our first card's address."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if host not in ("0.0.0.0", "[::]", "*"):
        return address
    cards = [card for card in probe.network_cards() if not card.loopback]
    addresses = [one for card in cards for one in card.addresses if ":" not in one]
    return f"tcp://{addresses[0] if addresses else '127.0.0.1'}:{port}"


def open_door(listen: str, link: str | None, keys: HostKeys | None) -> Door:
    """Open the sockets; the link's port is chosen by rule, or else free. Raises `OSError`."""
    if link is not None:
        return Door(listen, link, keys)
    host, _, port = listen.rpartition(":")
    if port != "*" and int(port) + LINK_PORTS_ABOVE < 65536:
        try:
            return Door(listen, f"{host}:{int(port) + LINK_PORTS_ABOVE}", keys)
        except OSError:
            pass  # one of the two is taken: if it is the public one, the next line says so
    return Door(listen, f"{host}:*", keys)
