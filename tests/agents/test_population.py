"""The next step of one colony: safety, then leavers, then a surplus, then better places."""

from __future__ import annotations

from dataclasses import replace

from agents.population import Facts, Lack, better_step, endangered, relief, urgent_step
from agents.surroundings import CloneOrdered, HandOverOrdered, RetireOrdered
from placement.balance import Means
from placement.labels import Labels
from placement.reasons import Move
from placement.resources import COPY_BYTES, Candidate


def hosts(*names: str, **changed: dict[str, object]) -> list[Candidate]:
    """Return candidates on boxes of their own; `changed` says what is special of whom."""
    made = [Candidate(name, name, Labels(box=name), copies=10, primaries=5) for name in names]
    return [replace(host, **changed.get(host.id, {})) for host in made]  # type: ignore[arg-type]


def facts(*active: str, coming: tuple[str, ...] = (), going: tuple[str, ...] = ()) -> Facts:
    """Return what the primary on the first host knows."""
    return Facts(0, active[0], active, coming, going, 1000)


def test_a_missing_peer_is_cloned_to_a_host_that_has_none() -> None:
    step = urgent_step(facts("A"), hosts("A", "B"), 2)
    assert isinstance(step, CloneOrdered) and step.target == "B" and "1 of 2" in step.reason


def test_with_as_many_peers_as_settled_there_is_nothing_to_do() -> None:
    assert urgent_step(facts("A", "B"), hosts("A", "B", "C"), 2) is None


def test_one_step_at_a_time() -> None:
    assert urgent_step(facts("A", coming=("B",)), hosts("A", "B", "C"), 2) is None
    assert urgent_step(facts("A", "B", "C", going=("C",)), hosts("A", "B", "C"), 2) is None


def test_two_missing_peers_are_cloned_at_once() -> None:
    step = urgent_step(facts("A", coming=("B",)), hosts("A", "B", "C"), 3)
    assert isinstance(step, CloneOrdered) and step.target == "C"


def test_where_no_host_is_left_the_lack_is_named() -> None:
    step = urgent_step(facts("A"), hosts("A", "B", B={"accepts": False, "because": "is full"}), 2)
    assert isinstance(step, Lack) and "full" in step.because


def test_what_leaves_does_not_count_as_a_peer() -> None:
    candidates = hosts("A", "B", "C", B={"leaving": True, "accepts": False})
    assert endangered(facts("A", "B"), candidates, 2) == 1
    step = urgent_step(facts("A", "B"), candidates, 2)
    assert isinstance(step, CloneOrdered) and step.target == "C", "first the copy, then the leave"
    step = urgent_step(facts("A", "B", "C"), candidates, 2)
    assert isinstance(step, RetireOrdered) and step.target == "B"


def test_a_primary_that_leaves_hands_over_first() -> None:
    candidates = hosts("A", "B", "C", A={"leaving": True, "accepts": False})
    step = urgent_step(facts("A", "B"), candidates, 2)
    assert isinstance(step, HandOverOrdered) and step.target == "B"
    alone = urgent_step(facts("A"), candidates, 1)
    assert isinstance(alone, CloneOrdered), "nobody could take over yet"


def test_a_host_that_leaves_never_takes_the_last_copy_along() -> None:
    candidates = hosts("A", "B", A={"leaving": True, "accepts": False}, B={"leaving": True, "accepts": False})
    step = urgent_step(facts("A", "B"), candidates, 2)
    assert step is None or isinstance(step, Lack)


def test_a_surplus_that_a_move_made_is_retired_where_it_came_from() -> None:
    moved = replace(facts("A", "B", "C"), move=Move(0, "copy", "B", "C", "it is better there"))
    step = urgent_step(moved, hosts("A", "B", "C"), 2)
    assert isinstance(step, RetireOrdered) and step.target == "B"


def test_a_surplus_is_never_retired_on_the_primary_itself() -> None:
    step = urgent_step(facts("A", "B", "C"), hosts("A", "B", "C"), 2)
    assert isinstance(step, RetireOrdered) and step.target in "BC"
    assert urgent_step(facts("A"), hosts("A"), 0) is None


def test_a_healthy_colony_in_a_balanced_cluster_does_not_move() -> None:
    assert better_step(facts("A", "B"), hosts("A", "B", "C")) is None


def test_a_copy_beside_another_one_moves_to_a_box_of_its_own() -> None:
    candidates = hosts("A", "B", "C", B={"labels": Labels(box="A")})
    found = better_step(facts("A", "B"), candidates)
    assert found is not None
    order, move = found
    assert isinstance(order, CloneOrdered) and (move.source, order.target) == ("B", "C")


def test_a_role_moves_by_a_hand_over() -> None:
    candidates = hosts("A", "B", A={"primaries": 20}, B={"primaries": 1})
    found = better_step(facts("A", "B"), candidates)
    assert found is not None and isinstance(found[0], HandOverOrdered) and found[0].target == "B"


def test_following_the_steps_heals_a_colony_and_then_nothing_is_left_to_do() -> None:
    candidates = hosts("A", "B", "C", "D", C={"leaving": True, "accepts": False})
    active, primary = ["C"], "C"
    taken = []
    for _ in range(10):
        step = urgent_step(Facts(0, primary, tuple(active), (), (), 1000), candidates, 2)
        if step is None:
            break
        assert not isinstance(step, Lack)
        taken.append(type(step))
        if isinstance(step, CloneOrdered):
            active.append(step.target)
        elif isinstance(step, RetireOrdered):
            assert step.target != primary
            active.remove(step.target)
        else:
            primary = step.target
        assert active, "never without a copy"
    assert len(active) == 2 and "C" not in active
    assert taken[-1] is RetireOrdered and HandOverOrdered in taken


def test_a_crowded_host_is_relieved_when_it_asks_and_its_target_may_refuse_who_comes_late() -> None:
    candidates = hosts("A", "B", "C", B={"copies": 14, "primaries": 13}, C={"copies": 6})
    means = Means.of(candidates)
    assert better_step(facts("A", "B"), candidates) is None, "by itself no copy moves for balance's sake"
    found = relief(facts("A", "B"), candidates, "B", means)
    assert found is not None
    order, move = found
    assert isinstance(order, CloneOrdered) and order.weight_max // COPY_BYTES == 10
    assert (move.target, move.source) == ("C", "B")
    assert relief(facts("A", "B"), candidates, "A", means) is None, "a primary's copy stays"
    even = hosts("A", "B", "C")
    assert relief(facts("A", "B"), even, "B", Means.of(even)) is None, "nobody carries less"


def test_a_clone_says_how_heavy_its_target_may_be_unless_nobody_is_lighter() -> None:
    candidates = hosts("A", "B", "C", B={"copies": 14})
    step = urgent_step(facts("A"), candidates, 2, fair_weight=11 * COPY_BYTES)
    assert isinstance(step, CloneOrdered) and step.target == "C"
    assert step.weight_max // COPY_BYTES == 11
    heavy = urgent_step(facts("A"), hosts("A", "B"), 2, fair_weight=5 * COPY_BYTES)
    assert isinstance(heavy, CloneOrdered) and heavy.weight_max // COPY_BYTES == 11, "as known, plus this one"


def test_a_full_host_sheds_a_secondary_only_if_nobody_has_room_for_it() -> None:
    full: dict[str, object] = {"bytes_max": 10_000, "bytes_used": 9_900}
    roomy = hosts("A", "B", "C", B=full)
    found = better_step(facts("A", "B"), roomy)
    assert found is not None and isinstance(found[0], CloneOrdered) and found[0].target == "C"
    packed = hosts("A", "B", "C", B=full, C=full)
    turns = [better_step(facts("A", "B"), packed, turn=turn) for turn in range(200)]
    orders = {type(found[0]) for found in turns if found is not None}
    assert orders == {RetireOrdered}
    assert 0 < sum(found is not None for found in turns) < 60, "by turns: about as many as are too many"
    alone = [better_step(facts("B"), packed, turn=turn) for turn in range(50)]
    assert all(found is None or not isinstance(found[0], RetireOrdered) for found in alone), "never the last"


def test_frozen_a_colony_moves_for_memory_alone() -> None:
    near = hosts("A", "B", "C", B={"labels": Labels(box="A")})
    assert better_step(facts("A", "B"), near) is not None
    assert better_step(facts("A", "B"), near, frozen=True) is None
    full = hosts("A", "B", "C", B={"bytes_max": 20_000, "bytes_used": 19_000})
    found = better_step(facts("A", "B"), full, frozen=True)
    assert found is not None and (found[1].source, found[1].target) == ("B", "C")


def test_one_that_has_just_moved_rests_but_not_on_a_host_that_runs_out_of_memory() -> None:
    full = hosts("A", "B", "C", B={"bytes_max": 20_000, "bytes_used": 19_000})
    found = better_step(facts("A", "B"), full, apart_only=True)
    assert found is not None and (found[1].source, found[1].target) == ("B", "C")
    hot = hosts("A", "B", "C", A={"cpu": 0.99, "primaries": 20, "copies": 20})
    assert better_step(facts("A", "B"), hot) is not None
    assert better_step(facts("A", "B"), hot, apart_only=True) is None
