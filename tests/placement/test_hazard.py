"""Hazards: graphs, steady states, survival and walks, each against brute force or a closed form."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.hazard.advice import best_move, peers_needed
from placement.hazard.graph import Graph, Supervisor, Vertex
from placement.hazard.models import DAY_S, HOUR_S, Never, Random, Scheduled
from placement.hazard.steady import steady
from placement.hazard.survival import survival
from placement.hazard.walk import Walk, walked
from placement.hazard.written import graph_of, parse_seconds


def chances(runs: int, seed: int = 0) -> list[random.Random]:
    """Return chance for so many runs."""
    return [random.Random(f"{seed}/{run}") for run in range(runs)]


OFTEN = Random(10 * HOUR_S, HOUR_S)


def two_boxes(failure: Random = OFTEN, **more: Any) -> Graph:
    """Four hosts on two boxes; one colony spread, one not."""
    boxes = [Vertex(f"b{n}", "box", failure) for n in (1, 2)]
    hosts = [Vertex(f"h{n}", failure=failure, fails_with=(f"b{1 + n // 3}",)) for n in (1, 2, 3, 4)]
    colonies = {"spread": ("h1", "h3"), "near": ("h1", "h2")}
    return Graph([*boxes, *hosts], more.pop("colonies", colonies), **more)


def brute_force(graph: Graph) -> tuple[float, dict[str, float]]:
    """Return P(some colony is down), and the same without each vertex's own failures; the plain way."""
    names = [name for name, vertex in graph.vertices.items() if vertex.failure.down_share > 0]
    total, spared = 0.0, dict.fromkeys(names, 0.0)
    for failed in itertools.product((False, True), repeat=len(names)):
        own = {name for name, is_failed in zip(names, failed, strict=True) if is_failed}
        down = graph.down(own)
        if not any(all(host in down for host in peers) for peers in graph.colonies.values()):
            continue
        shares = [(name, graph.vertices[name].failure.down_share) for name in names]
        total += math.prod(share if name in own else 1 - share for name, share in shares)
        for spare in names:
            if spare not in own:
                spared[spare] += math.prod(
                    share if name in own else 1 - share for name, share in shares if name != spare
                )
    return total, spared


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs of up to 12 vertices, some with thresholds."""
    count = draw(st.integers(2, 12))
    vertices: list[Vertex] = []
    for number in range(count):
        below = [vertex.name for vertex in vertices]
        causes = tuple(draw(st.lists(st.sampled_from(below), unique=True, max_size=3))) if below else ()
        vertices.append(
            Vertex(
                f"v{number}",
                "host" if number >= count // 2 else "box",
                Random(draw(st.floats(1, 100)), draw(st.floats(0.1, 100))),
                causes,
                draw(st.integers(1, max(1, len(causes)))),
            )
        )
    hosts = [vertex.name for vertex in vertices if vertex.kind == "host"]
    places = draw(
        st.lists(
            st.lists(st.sampled_from(hosts), unique=True, min_size=1, max_size=3), min_size=1, max_size=3
        )
    )
    return Graph(vertices, {str(n): tuple(place) for n, place in enumerate(places)})


@settings(max_examples=15, deadline=None)
@given(graphs())
def test_the_steady_state_is_what_brute_force_finds_and_ranks_alike(graph: Graph) -> None:
    found = steady(graph)
    any_down, without = brute_force(graph)
    assert found.exact
    assert found.any_down == pytest.approx(any_down, abs=1e-12)
    for name, share in found.without.items():
        assert share == pytest.approx(without[name], abs=1e-12)


def test_samples_agree_with_what_is_exact() -> None:
    graph = two_boxes()
    exact, sampled = steady(graph), steady(graph, exact_max=0, samples=100_000)
    assert not sampled.exact
    assert abs(sampled.any_down - exact.any_down) < 5 * sampled.error
    assert max(sampled.without, key=lambda name: -sampled.without[name]) == "b1"


def test_a_colony_on_one_box_is_down_more_often_than_one_on_two() -> None:
    near = steady(two_boxes(colonies={"0": ("h1", "h2")}))
    apart = steady(two_boxes(colonies={"0": ("h1", "h3")}))
    assert apart.any_down < near.any_down
    assert near.availability == pytest.approx(1 - near.any_down)


def test_two_hosts_alone_are_lost_as_often_as_the_textbook_says() -> None:
    """Two independent hosts, windows w: frequency = 2 * rate * P(the other is missing)."""
    rate, window_s = 1 / (100 * HOUR_S), 30.0
    hosts = [Vertex(name, failure=Random(1 / rate, HOUR_S)) for name in ("h1", "h2")]
    found = survival(Graph(hosts, {"0": ("h1", "h2")}), window_s=window_s)
    missing = window_s / (1 / rate + window_s)
    assert found.frequency == pytest.approx(2 * rate * (1 - missing) * missing)
    assert found.lost == pytest.approx(1 - math.exp(-found.frequency * DAY_S))


def test_a_box_below_both_peers_takes_them_at_its_own_rate() -> None:
    box = Vertex("b", "box", Random(1_000 * HOUR_S, HOUR_S))
    hosts = [Vertex(name, fails_with=("b",)) for name in ("h1", "h2")]
    found = survival(Graph([box, *hosts], {str(n): ("h1", "h2") for n in range(8)}), window_s=0.0)
    assert found.frequency == pytest.approx(1 / (1_000 * HOUR_S))
    assert list(found.by_vertex) == ["b"], "one event, however many colonies fall with it"


def test_the_most_dangerous_vertex_is_the_one_whose_failures_matter_most() -> None:
    graph = two_boxes(Random(30 * DAY_S, HOUR_S))
    found = survival(graph, window_s=10.0)
    assert next(iter(found.by_vertex)) == "b1"
    safer = survival(graph.without_failures_of("b1"), window_s=10.0)
    for other in ("b2", "h1", "h2", "h3"):
        assert safer.frequency < survival(graph.without_failures_of(other), window_s=10.0).frequency


def test_survival_agrees_with_walks_through_time() -> None:
    graph = two_boxes(Random(20 * HOUR_S, 600.0))
    told = survival(graph, window_s=120.0)
    seen = walked(graph, chances(250), window_s=120.0)
    assert 0.2 < told.lost < 0.999
    # Walks re-place what they clone, so that the badly placed colony is soon well placed.
    assert seen.lost < told.lost + 3 * seen.error
    boxes = [Vertex(f"b{n}", "box", Random(20 * HOUR_S, 600.0)) for n in range(5)]
    hosts = [Vertex(f"h{n}", failure=Random(20 * HOUR_S, 60.0), fails_with=(f"b{n}",)) for n in range(5)]
    spread = Graph([*boxes, *hosts], {"0": ("h1", "h3")})
    told, seen = survival(spread, window_s=1_200.0), walked(spread, chances(400), window_s=1_200.0)
    assert abs(told.lost - seen.lost) < 4 * seen.error, (told.lost, seen.lost)


def test_a_walk_is_the_same_for_the_same_seed() -> None:
    graph = two_boxes()
    assert walked(graph, chances(5, 3), window_s=60.0) == walked(graph, chances(5, 3), window_s=60.0)
    assert walked(graph, chances(5, 3), window_s=60.0) != walked(graph, chances(5, 4), window_s=60.0)


def test_a_scheduled_failure_comes_when_it_is_due() -> None:
    host = Vertex("h1", failure=Scheduled(100.0, 10.0, 1_000.0))
    graph = Graph([host, Vertex("h2")], {"0": ("h1",)})
    assert walked(graph, chances(1), window_s=1.0, horizon_s=99.0).lost == 0
    assert walked(graph, chances(1), window_s=1.0, horizon_s=101.0).lost == 1
    assert host.failure.down_share == 0.01


def test_nothing_is_lost_while_one_copy_after_the_other_dies_slowly() -> None:
    hosts = [Vertex(f"h{n}", failure=Scheduled(100.0 * n, 10_000.0)) for n in (1, 2, 3)]
    graph = Graph([*hosts, Vertex("h4")], {"0": ("h1", "h2")})
    walk = Walk(graph, 20.0, random.Random(1)).run(1_000.0)
    assert (walk.lost, walk.copies_made) == (0, 2), "after the third death there is nowhere to clone to"


def test_a_slow_clone_loses_what_a_fast_one_saves() -> None:
    hosts = [
        Vertex("h1", failure=Scheduled(100.0, 10.0)),
        Vertex("h2", failure=Scheduled(130.0, 10.0)),
        Vertex("h3"),
    ]
    graph = Graph(hosts, {"0": ("h1", "h2")})
    assert walked(graph, chances(1), window_s=20.0).lost == 0
    assert walked(graph, chances(1), window_s=40.0).lost == 1


def test_a_supervisor_restarts_sooner_than_a_host_mends_itself_unless_it_is_down() -> None:
    def cluster(supervisor: Vertex) -> Graph:
        hosts = [
            Vertex("h1", failure=Scheduled(100.0, 5_000.0)),
            Vertex("h2", failure=Scheduled(200.0, 5_000.0)),
        ]
        watch = Supervisor("s", ("h1", "h2"), restart_s=2.0)
        return Graph([*hosts, supervisor], {"0": ("h1", "h2")}, [watch])

    assert walked(cluster(Vertex("s", "supervisor")), chances(1), window_s=5.0).lost == 0
    dead = Vertex("s", "supervisor", Scheduled(50.0, 5_000.0))
    assert walked(cluster(dead), chances(1), window_s=5.0).lost == 1


def test_supervisors_add_one_host_for_one_that_can_not_be_restarted() -> None:
    boxes = [Vertex("b1", "box", Scheduled(100.0, 9_000.0)), Vertex("b2", "box"), Vertex("b3", "box")]
    hosts = [Vertex("h1", fails_with=("b1",)), Vertex("h2", fails_with=("b2",))]
    supervisors = [Supervisor(name, ("h1",), adds=("b3",), add_s=5.0) for name in ("s1", "s2")]
    watchers = [Vertex(name, "supervisor") for name in ("s1", "s2")]
    graph = Graph([*boxes, *hosts, *watchers], {"0": ("h1", "h2")}, supervisors)
    walk = Walk(graph, 10.0, random.Random(1)).run(1_000.0)
    assert walk.added == {"h1+": "b3"}, "the second one finds the claim of the first"
    assert walk.copies_made == 1


def test_a_threshold_falls_only_when_enough_have_fallen() -> None:
    feeds = [Vertex(name, "power") for name in ("p1", "p2")]
    rack = Vertex("r", "rack", fails_with=("p1", "p2"), threshold=2)
    graph = Graph([*feeds, rack, Vertex("h", fails_with=("r",))], {"0": ("h",)})
    assert graph.down({"p1"}) == {"p1"}
    assert graph.down({"p1", "p2"}) == {"p1", "p2", "r", "h"}
    assert graph.falls_with("p1") == ("r", "h")


def test_gray_failures_count_as_often_as_they_are_felt() -> None:
    assert Random(90.0, 10.0, gray=0.5).down_share == pytest.approx(0.05)
    assert Random(90.0, 10.0, gray=0.0).fails_after_s(0.0, 0.5) == math.inf


@pytest.mark.parametrize(
    ("vertices", "colonies", "complaint"),
    [
        ([Vertex("a"), Vertex("a")], {}, "one name"),
        ([Vertex("a", fails_with=("b",))], {}, "'b', which is no vertex"),
        ([Vertex("a", fails_with=("b",)), Vertex("b", fails_with=("a",))], {}, "in a circle"),
        ([Vertex("a")], {"0": ()}, "no peer"),
        ([Vertex("a")], {"0": ("a", "a")}, "two peers on one host"),
        ([Vertex("a", "box")], {"0": ("a",)}, "which is no host"),
    ],
)
def test_a_graph_that_makes_no_sense_is_refused(
    vertices: list[Vertex], colonies: Any, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Graph(vertices, colonies)


def test_the_best_move_parts_peers_that_share_a_box() -> None:
    graph = two_boxes(Random(30 * DAY_S, HOUR_S))
    move = best_move(graph, window_s=10.0)
    assert move is not None
    assert move.colony == "near"
    assert move.target in ("h3", "h4")
    assert move.after < move.before / 100
    assert (
        best_move(two_boxes(Random(30 * DAY_S, HOUR_S), colonies={"0": ("h1", "h3")}), window_s=10.0) is None
    )


def test_a_higher_wish_needs_more_peers_and_some_need_more_than_there_are_hosts() -> None:
    failure = Random(2 * DAY_S, HOUR_S)
    hosts = [Vertex(f"h{n}", failure=failure, fails_with=(f"b{n}",)) for n in range(4)]
    boxes = [Vertex(f"b{n}", "box", failure) for n in range(4)]
    graph = Graph([*hosts, *boxes], {str(n): ("h0",) for n in range(4)})
    needed, found = peers_needed(graph, 0.99, window_s=20.0)
    assert needed == 2
    assert found[1] < 0.1
    assert peers_needed(graph, 0.999999, window_s=20.0)[0] == 3
    assert peers_needed(graph, 0.99, window_s=5 * DAY_S)[0] is None


def test_a_file_says_what_fails_with_what() -> None:
    graph, window_s = graph_of(
        {
            "window": "30s",
            "kind": {"host": {"mtbf": "30d", "mttr": "2m"}},
            "vertex": [
                {"name": "b1", "kind": "box", "first": "1d", "lasts": "1h", "every": "7d"},
                {"name": "h1", "fails_with": ["b1"]},
                {"name": "h2", "mtbf": 100, "mttr": 0, "gray": 0.5},
            ],
            "colony": [{"peers": ["h1", "h2"]}],
            "supervisor": [{"vertex": "h2", "watches": ["h1"], "restart": "3s"}],
        }
    )
    assert window_s == 30.0
    assert graph.vertices["h1"] == Vertex("h1", "host", Random(30 * DAY_S, 120.0), ("b1",))
    assert graph.vertices["b1"].failure == Scheduled(DAY_S, HOUR_S, 7 * DAY_S)
    assert graph.supervisors == (Supervisor("h2", ("h1",), 3.0),)
    assert graph.colonies == {"0": ("h1", "h2")}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"vertexes": []}, "'vertexes' is unknown"),
        ({"vertex": [{}]}, "has no name"),
        ({"vertex": [{"name": "a", "mtbf": "soon", "mttr": 1}]}, "a: 'soon' is no time"),
        ({"vertex": [{"name": "a", "mtbf": "1d"}]}, "a: mtbf needs mttr"),
        ({"vertex": [{"name": "a", "mtbf": 1, "mttr": 1, "every": 1}]}, "go together"),
        ({"vertex": [{"name": "a", "kind": "cloud"}]}, "a: kind is one of"),
        ({"vertex": {"name": "a"}}, "list of tables"),
        ({"vertex": [{"name": "a"}], "colony": [{"peers": "a"}]}, "list of names"),
        ({"kind": {"hosts": {}}}, "a kind is one of"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_and_says_where(data: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        graph_of(data)


def test_times_are_written_with_their_unit() -> None:
    assert [parse_seconds(text) for text in ("20", "20s", "1.5m", "2h", "1d", "1y", 7)] == [
        20.0, 20.0, 90.0, 7200.0, 86400.0, 365 * 86400.0, 7.0,
    ]  # fmt: skip


def test_a_vertex_that_never_fails_changes_nothing() -> None:
    graph = two_boxes()
    idle = Graph([*graph.vertices.values(), Vertex("spare", failure=Never())], graph.colonies)
    assert steady(idle).any_down == pytest.approx(steady(graph).any_down)
    safe = Graph([replace(v, failure=Never()) for v in graph.vertices.values()], graph.colonies)
    assert survival(safe, window_s=10.0).lost == 0.0
