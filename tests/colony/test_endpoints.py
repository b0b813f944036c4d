"""Where hosts listen, and where others reach them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from colony.endpoints import endpoint, is_loopback, reachable
from placement import probe


def test_any_free_port_is_asked_for_by_zero_or_a_star() -> None:
    assert endpoint("tcp://10.0.0.5:7420") == "tcp://10.0.0.5:7420"
    assert endpoint("tcp://[::1]:0") == "tcp://[::1]:*" == endpoint("tcp://[::1]:*")


@pytest.mark.parametrize(
    "text", ["10.0.0.5:7420", "tcp://10.0.0.5", "tcp://:1", "tcp://a:70000", "tcp://a:x"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        endpoint(text)


def test_only_this_machine_connects_to_loopback() -> None:
    inside = ["tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tcp://[::1]:1", "tcp://localhost:1"]
    outside = ["tcp://10.0.0.5:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://host.example:1"]
    assert [is_loopback(one) for one in inside + outside] == [True] * 4 + [False] * 4


def test_a_wildcard_is_reached_at_the_first_card_that_is_not_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cards = [
        SimpleNamespace(loopback=True, addresses=["127.0.0.1"]),
        SimpleNamespace(loopback=False, addresses=["fe80::1", "10.0.0.5"]),
    ]
    monkeypatch.setattr(probe, "network_cards", lambda: cards)
    assert reachable("tcp://0.0.0.0:7420") == "tcp://10.0.0.5:7420" == reachable("tcp://[::]:7420")
    assert reachable("tcp://10.0.0.9:7420") == "tcp://10.0.0.9:7420"
    cards.pop()
    assert reachable("tcp://0.0.0.0:7420") == "tcp://127.0.0.1:7420"
