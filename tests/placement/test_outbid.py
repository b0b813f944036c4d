"""Outbid: room goes to who has fewer copies, and nobody is worse off than who gets it."""

from __future__ import annotations

from placement.outbid import Tenant, outbid


def test_what_still_comes_goes_first_then_those_with_the_most_copies() -> None:
    tenants = [Tenant(1, 3, 50, False), Tenant(2, 4, 50, False), Tenant(3, 2, 50, True)]
    assert [one.colony for one in outbid(9, 1, 40, tenants)] == [3]
    assert [one.colony for one in outbid(9, 1, 120, tenants)] == [3, 2, 1]


def test_nobody_gives_up_a_copy_to_have_fewer_than_the_one_who_gets_it() -> None:
    assert outbid(9, 1, 10, [Tenant(1, 2, 50, False)]) == (), "both would have two, then one"
    assert outbid(9, 2, 10, [Tenant(1, 2, 50, True)]) == (), "one that comes to a colony as poor"
    assert outbid(1, 1, 10, [Tenant(1, 9, 50, False)]) == (), "its own"


def test_if_all_that_may_go_does_not_suffice_nobody_goes() -> None:
    assert outbid(9, 1, 60, [Tenant(1, 3, 50, False)]) == ()
