"""The command line: what is typed, what is printed, and the exit status."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from colony.cli import COMMANDS, build_parser, main, parse
from colony.commands import host as host_command
from colony.commands import life
from colony.commands.base import Failure
from colony.errors import ColonyError, Denied, OutcomeUnknown, Unavailable
from tests.colony.fakes import Entry, FakeStore, status


class Terminal:
    """Runs commands against a fake store, and keeps what they printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.store = FakeStore({"status": status()})
        self.connected: list[str] = []
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: str, environ: dict[str, str] | None = None) -> int:
        """Run a command; returns its exit status."""

        def connect(addresses: str, **_: Any) -> FakeStore:
            self.connected.append(addresses)
            return self.store

        code = main(list(words), environ=environ or {}, connect=connect)
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def colony(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal in which nothing waits."""
    monkeypatch.setattr(life, "POLL_S", 0.0)
    return Terminal(capsys)


# -- usage -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say which command"),
        (["statsu"], "invalid choice: 'statsu'"),
        (["status", "--colonise"], "unknown option --colonise; did you mean --colonies?"),
        (["host", "--zzz"], "unknown option --zzz; see colony host --help"),
        (["host", "--listen", "127.0.0.1:1"], "'127.0.0.1:1' is not an address like tcp://"),
        (["host", "--peers", "0"], "argument --peers: 0 is out of range: 1 to 16"),
        (["set", "k"], "the following arguments are required: VALUE"),
        (["why", "x"], "argument COLONY: 'x' is not a whole number"),
        (["--config", "/nowhere.toml", "status"], "can't read the config file /nowhere.toml"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_status_2(colony: Terminal, words: list[str], said: str) -> None:
    assert colony(*words) == 2
    last = colony.err.splitlines()[-1]
    assert said in last and last.startswith("colony")
    assert not words or len(colony.err.splitlines()) == 1


def test_help_and_version_are_no_failure(colony: Terminal) -> None:
    assert colony("--help") == 0 and "COLONY_STATE_DIR" in colony.out
    assert colony("--version") == 0 and colony.out.startswith("colony ")
    for command in COMMANDS:
        assert colony(command.name, "--help") == 0


def test_every_option_has_a_variable_and_a_key(tmp_path: Path) -> None:
    parse(["host"], {"COLONY_PEERS": "3", "COLONY_BOX": "b7"})
    file = tmp_path / "colony.toml"
    file.write_text('connect = "tcp://10.0.0.1:1"\n[host]\nmax_bytes = "2G"\nwitness = true\n')
    _, values = parse(["host", "--config", str(file)], {"COLONY_BOX": "b7"})
    assert values["connect"] == ["tcp://10.0.0.1:1"] and values["max_bytes"] == 2 << 30
    assert values["witness"] is True and values["box"] == "b7"
    names = [option.name for command in COMMANDS for option in command.options]
    assert build_parser() is not None and all(name == name.lower() for name in names)


def test_global_options_may_stand_before_or_after_the_command() -> None:
    before = parse(["--json", "--connect", "tcp://h:1", "status"], {})[1]
    after = parse(["status", "--json", "--connect", "tcp://h:1"], {})[1]
    assert before == after and before["json"] is True


def test_connect_comes_from_the_environment_too(colony: Terminal) -> None:
    colony("status", environ={"COLONY_CONNECT": "tcp://a:1,tcp://b:2"})
    assert colony.connected == ["tcp://a:1,tcp://b:2"] and colony.store.is_closed


# -- failures ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("no quorum"), 3),
        (OutcomeUnknown("time ran out"), 3),
        (Denied("not for you"), 1),
        (ColonyError("no"), 1),
        (RuntimeError("a bug"), 1),
        (ValueError("a key of 2 KiB"), 2),
    ],
)
def test_each_failure_has_its_status_and_one_line(colony: Terminal, error: Exception, code: int) -> None:
    colony.store.answers["status"] = error
    assert colony("status") == code
    assert str(error) in colony.err and len(colony.err.splitlines()) == 1


# -- state -------------------------------------------------------------------


def test_status_json_is_the_clusters_answer_as_it_is(colony: Terminal) -> None:
    assert colony("status", "--json", "--colonies") == 0
    assert json.loads(colony.out) == status()
    assert colony.store.asked == [("status", {"colonies": True})]


def test_status_for_people_names_hosts_and_health(colony: Terminal) -> None:
    assert colony("status", "--colonies") == 0
    assert "view 0.7  quorum yes  safe yes" in colony.out and "64 healthy" in colony.out
    assert "h5" in colony.out and "tcp://127.0.0.1:7420" in colony.out and "SECONDARIES" in colony.out


def test_status_says_who_is_not_ready_and_where_cells_were_put_aside(colony: Terminal) -> None:
    told = status()
    told["view"]["members"][1] |= {"ready": False, "lost_and_found": 2}
    told["view"]["members"][2] |= {"ready": True, "lost_and_found": 0}
    colony.store.answers["status"] = told
    assert colony("status") == 0 and "ACTIVE not ready 2 lost+found" in colony.out
    assert colony.out.count("not ready") == 1
    assert colony("top") == 0 and "NOTREADY" in colony.out and "2 lost+found" in colony.out


def test_status_without_quorum_is_3_and_with_lost_colonies_4(colony: Terminal) -> None:
    colony.store.answers["status"] = {**status(), "quorum": False}
    assert colony("status") == 3 and "no quorum" in colony.err
    lost = status()
    lost["colonies"]["lost"] = 2
    colony.store.answers["status"] = lost
    assert colony("status") == 4 and "2 colonies have lost all their copies" in colony.err


def test_events_are_lines_or_json_lines(colony: Terminal) -> None:
    about = status()["view"]["members"][1]["id"]
    event = {"number": 1, "at": 1e9, "host": about, "kind": "promote", "colony": 5, "reason": "h3 is dead"}
    event["cause"] = {"kind": "view", "view": (1 << 32) + 7, "id": "aa.3"}
    colony.store.answers["events"] = {"events": [event], "last": 1, "life": "aa"}
    line = "h1   promote colony 5 h2: h3 is dead  ← view 1.7\n"
    assert colony("events") == 0 and colony.out.endswith(line)
    assert colony("events", "--json") == 0
    assert json.loads(colony.out) == {**event, "host": "h2", "by": "h1"}
    shown = [
        ((), True),
        (("--kind", "clone,promote"), True),
        (("--kind", "clone"), False),
        (("--colony", "5", "--host", "h2"), True),
        (("--colony", "4"), False),
        (("--host", "h4"), False),
        (("--since", "2001-09-09T00:00"), True),
        (("--since", "10m"), False),
    ]
    for filters, is_shown in shown:
        assert colony("events", *filters) == 0 and bool(colony.out) is is_shown, filters
    assert colony("events", "--since", "yesterday") == 2 and "is no time" in colony.err


def test_where_and_why(colony: Terminal) -> None:
    colony.store.answers["where"] = {
        "colony": 3,
        "primary": "h1",
        "secondaries": ["h2"],
        "epoch": 7 << 16 | 2,
    }
    assert colony("where", "k") == 0
    assert colony.out == "colony 3  epoch 7.2  primary h1  secondaries h2\n"
    colony.store.answers["where"] = lambda asked: {"colony": asked.get("colony", 5), "primary": "h1"}
    assert colony("where", "k") == 0
    assert colony.out.startswith("colony 3 ") and colony.out.endswith("home: colony 5\n")
    verdicts = [
        {"host": "h1", "vetoes": [], "terms": ["holds the primary"]},
        {"host": "h4", "vetoes": ["no room"]},
    ]
    colony.store.answers["why"] = {"colony": 3, "primary": "h1", "hosts": verdicts}
    assert colony("why", "3", "--not", "h4") == 0
    assert "  h1: holds the primary\n  h4: can not, no room\n" in colony.out
    assert colony.store.asked[-1] == ("why", {"colony": 3, "not_host": "h4"})


def test_why_gathers_what_all_hosts_decided(colony: Terminal) -> None:
    def decided(what: str, age_s: float, **more: Any) -> dict[str, Any]:
        return {"decided": what, "age_s": age_s, "by": "h2", "view": "0.1", "because": "so", **more}

    settle = decided("settle", 9.0, chosen=2)
    moved = decided(
        "migrate", 5.0, kind="copy", chosen="h4", candidates=[{"host": "h5", "vetoes": ["is full"]}]
    )
    first = {"colony": 3, "primary": "h1", "name": "h1", "decisions": [settle], "next": None}
    step = {"would": "stay", "because": "nothing draws it elsewhere"}
    others = [
        {"decisions": [settle, decided("retire", 4.0, chosen="h3"), {**moved, "from": "h3"}], "next": step},
        {"decisions": [], "next": None},
    ]
    answers = iter([first, *others])

    def answer(arguments: Any) -> Any:
        found = next(answers, None)
        if found is None:
            raise Unavailable("no connection")
        return found

    colony.store.answers["why"] = answer
    assert colony("why", "3") == 0
    assert [line.partition("0.1 ")[2] for line in colony.out.splitlines() if " h2 view 0.1 " in line] == [
        "settle 2: so",
        "migrate copy h3 → h4: so",
        "retire h3: so",
    ]
    assert "now: stay: nothing draws it elsewhere" in colony.out and "not asked: " in colony.out
    answers = iter([first, *others])
    assert colony("why", "3", "--move") == 0
    assert "last moved:" in colony.out and "h5: can not, is full" in colony.out and "settle" not in colony.out


def test_moves_of_all_hosts_come_urgent_first_with_who_joins_and_what_is_frozen(colony: Terminal) -> None:
    slow = {"colony": 1, "kind": "move", "from": "h1", "to": "h2", "progress": 0.25, "owner": "h1"}
    slow |= {"urgent": False, "age_s": 9.0, "deadline_s": 51.0, "waits_for": "its cells", "reason": "so"}
    wait = {"colony": 7, "kind": "wait", "urgent": True, "owner": "h2", "age_s": 0.0, "waits_for": "room"}
    told = iter([{"moves": [slow], "limits": {}}, {"moves": [wait], "limits": {}}])
    colony.store.answers["moves"] = lambda _: next(told, {"moves": [], "limits": {}})
    assert colony("moves") == 0
    first, second = colony.out.splitlines()
    assert first == "wait colony 7 urgent, owner h2: waits for room"
    assert second == (
        "move colony 1 h1 → h2 25%, owner h1, 9.0 s old, given up in 51 s: waits for its cells (so)"
    )
    status = dict(colony.store.answers["status"])
    wave = {"joining": ["h8", "h9"], "leaving": ["h1"], "arrived": 3, "share": 8, "aboard": 5}
    colony.store.answers["status"] = {**status, "frozen": True, "wave": wave}
    assert colony("moves") == 0
    assert "moves are FROZEN" in colony.out and "nothing moves" in colony.out
    assert "wave: h8, h9 join, 3 of 8 copies there; h1 leave, 5 copies still aboard" in colony.out


def test_freeze_and_thaw_wait_until_a_view_says_so(colony: Terminal) -> None:
    status = dict(colony.store.answers["status"])
    seen = iter([False, False])
    colony.store.answers["status"] = lambda _: {**status, "frozen": next(seen, True)}
    colony.store.answers["freeze"] = {"frozen": True, "before": False}
    assert colony("freeze") == 0 and colony.out.startswith("moves are frozen: what lacks peers")
    colony.store.answers["thaw"] = {"frozen": False, "before": True}
    assert colony("thaw", "--wait", "0.3") == 3 and "no view says so" in colony.err


def test_safe_to_kill_answers_by_its_exit_status(colony: Terminal) -> None:
    colony.store.answers["safe_to_kill"] = {"safe": True, "reasons": []}
    assert colony("safe-to-kill", "h1", "h2") == 0 and colony.out == "yes\n"
    colony.store.answers["safe_to_kill"] = {"safe": False, "reasons": ["colony 3 has no other peer"]}
    assert colony("safe-to-kill", "box=b1") == 1 and "NO\n  colony 3 has no other peer" in colony.out
    assert colony.store.asked[-1] == ("safe_to_kill", {"hosts": ["box=b1"]})


def test_a_yes_counts_only_if_every_host_that_stays_says_it(colony: Terminal) -> None:
    answers = iter(
        [
            {"safe": True, "reasons": [], "name": "h1", "hosts": ["h2"]},
            *({"safe": True, "reasons": []} for _ in range(2)),
            {"safe": False, "reasons": ["colony 7 has all its peers there"], "lost": [7]},
        ]
    )
    colony.store.answers["safe_to_kill"] = lambda _: next(answers)
    assert colony("safe-to-kill", "h2", "--json") == 1
    told = json.loads(colony.out)
    assert told["lost"] == [7] and set(told["asked"]) == {"h3", "h4", "h5"}, "the doomed are not asked"

    def silent(arguments: Any) -> Any:
        if len([asked for asked in colony.store.asked if asked[0] == "safe_to_kill"]) > before + 1:
            raise Unavailable("no connection")
        return {"safe": True, "reasons": [], "name": "h1", "hosts": ["h2"]}

    before = len([asked for asked in colony.store.asked if asked[0] == "safe_to_kill"])
    colony.store.answers["safe_to_kill"] = silent
    assert colony("safe-to-kill", "h2") == 1 and "h3 does not say so" in colony.out


def test_top_without_a_terminal_prints_one_frame(colony: Terminal, tmp_path: Path) -> None:
    colony.store.answers["events"] = {"events": [], "next": 0}
    assert colony("top") == 0 and "● quorum" in colony.out
    picture = tmp_path / "top.svg"
    assert colony("top", "--svg", str(picture)) == 0 and picture.read_text().startswith("<svg")
    colony.store.answers["status"] = Unavailable("nobody")
    assert colony("top") == 3 and "no host answers" in colony.err


# -- cells -------------------------------------------------------------------


def test_values_are_json_or_text(colony: Terminal) -> None:
    assert colony("set", "k", '{"a": [1, 2]}') == 0 and colony.out == "version 1\n"
    assert colony.store.cells["k"].value == {"a": [1, 2]}
    assert colony("get", "k") == 0 and colony.out == '{"a": [1, 2]}\n'
    assert colony("set", "t", "plain words", "--ttl", "9") == 0
    assert colony.store.cells["t"] == Entry("plain words", 1, 9.0)
    assert colony("get", "t", "--json") == 0
    assert json.loads(colony.out) == {"key": "t", "value": "plain words", "version": 1, "ttl_s": 9.0}
    assert colony("set", "n", "-5") == 0 and colony.store.cells["n"].value == -5


def test_a_value_that_json_can_not_carry_is_shown_all_the_same(colony: Terminal) -> None:
    colony.store.cells["o"] = Entry({1, 2}, 1)
    assert colony("get", "o", "--json") == 0 and json.loads(colony.out)["value"] == "{1, 2}"


def test_a_cell_that_is_not_there(colony: Terminal) -> None:
    assert colony("get", "x") == 1 and colony.err == "colony: no cell 'x'\n"
    colony("set", "k", "1")
    assert colony("del", "k", "x") == 1 and colony.out == "deleted 1\n" and "'x'" in colony.err
    assert not colony.store.cells


def test_keys_by_prefix(colony: Terminal) -> None:
    colony.store.cells = {"a1": Entry(1, 1), "a2": Entry(1, 1), "b": Entry(1, 1)}
    assert colony("keys", "a") == 0 and colony.out == "a1\na2\n"
    assert colony("keys", "--json") == 0 and json.loads(colony.out) == ["a1", "a2", "b"]


# -- life --------------------------------------------------------------------


def test_init_waits_until_all_hosts_are_active(colony: Terminal) -> None:
    young = {**status(), "quorum": False}
    answers = iter([young, young, status()])
    colony.store.answers["status"] = lambda _: next(answers)
    assert colony("init", "--colonies", "8") == 0 and "5 hosts ACTIVE" in colony.out
    assert colony.store.asked[0] == ("init", {"colonies": 8, "peers": 2})
    assert colony.err.count("waiting") == 1


def test_a_refusal_tells_its_reason(colony: Terminal) -> None:
    colony.store.answers["init"] = Denied("there is a cluster already: 0f")
    assert colony("init") == 1 and colony.err == "colony: there is a cluster already: 0f\n"


def test_leave_shows_progress_until_the_host_is_out(colony: Terminal) -> None:
    answers = iter([status(), status(hosts=4)])
    colony.store.answers["status"] = lambda _: next(answers)
    assert colony("leave", "h5") == 0 and colony.out == "left: h5\n"
    assert "h5 has 13 primaries and 12 secondaries aboard" in colony.err


def test_leave_gives_up_following_in_time(colony: Terminal) -> None:
    assert colony("leave", "h5", "--wait", "0.05") == 1 and "still leaving after 0.05 s" in colony.err


def test_shutdown_waits_until_nobody_answers(colony: Terminal) -> None:
    answers: list[Any] = [status(), Unavailable("nobody")]

    def answer(_: Any) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    colony.store.answers["status"] = answer
    assert colony("shutdown") == 0 and colony.out == "stopped\n"


def test_shutdown_says_why_the_cluster_goes_on(colony: Terminal) -> None:
    colony.store.answers["shutdown"] = {"stop": "s1"}
    failed = {"stop": "s1", "failed": "h2: no space left on device"}
    writing = {"stop": "s1", "phase": "WRITE", "waiting_for": ["h2"]}
    answers = [{**status(), "stopping": writing}, {**status(), "stopping": failed}]
    colony.store.answers["status"] = lambda _: answers.pop(0)
    assert colony("shutdown") == 1 and "h2: no space left on device" in colony.err
    assert "all write down what they hold; waiting for h2" in colony.err


@pytest.mark.parametrize("words", [["recover"], ["evict", "h1"]])
def test_what_may_lose_state_wants_force(colony: Terminal, words: list[str]) -> None:
    assert colony(*words) == 1 and "--force" in colony.err and not colony.store.asked
    assert colony(*words, "--force") == 0


# -- host --------------------------------------------------------------------


class FakeHost:
    """A host that does as the test says."""

    def __init__(self, *stages: str, halted: Any = None, left: Any = True) -> None:
        self.name, self.address, self.waiting_for, self.loop_age_s = "h1", "tcp://127.0.0.1:1", "", 0.0
        self.stages, self._halted, self._left, self.nobody_stays = list(stages), halted, left, False

    @property
    def stage(self) -> str:
        """The next stage, then the last one for ever."""
        return self.stages.pop(0) if len(self.stages) > 1 else self.stages[0]

    @property
    def halted(self) -> Any:
        """The exit status, once all stages were shown."""
        return self._halted if len(self.stages) == 1 else None

    def start(self) -> None: ...

    def wait_ready(self, timeout: float) -> bool:
        return True

    def leave(self, timeout: float) -> Any:
        if isinstance(self._left, Exception):
            raise self._left
        return self._left

    def close(self) -> None: ...


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the host's loop not wait."""
    monkeypatch.setattr(host_command, "POLL_S", 0.0)


@pytest.mark.usefixtures("quick")
def test_a_host_says_what_it_waits_for_once_and_when_it_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    host = FakeHost("ZOMBIE", "ZOMBIE", "ELECTION", "ACTIVE", "ACTIVE", halted=(5, "solitude"))
    assert host_command.serve(host, host_command.Signals(), 30.0) == 5
    out, err = capsys.readouterr()
    assert out.startswith("ready h1 tcp://127.0.0.1:1") and len(out.splitlines()) == 1
    assert err.splitlines()[:2] == ["colony host: ZOMBIE", "colony host: ELECTION"]
    assert "colony host: ended: solitude" in err


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("left", "said"), [(True, "left"), (False, "did not get empty"), (Unavailable("last peer"), "last peer")]
)
def test_sigterm_is_a_graceful_leave(left: Any, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    signals = host_command.Signals()
    signals.asked = True
    try:
        assert host_command.serve(FakeHost("ACTIVE", left=left), signals, 1.0) == 0
        words = capsys.readouterr().err
    except Failure as failure:
        words = str(failure)
    assert said in words


def test_who_leaves_with_all_others_says_that_nobody_takes_over() -> None:
    host = FakeHost("ACTIVE", left=False)
    with pytest.raises(Failure, match="; its colonies fail over") as one:
        host_command.leave(host, 1.0)
    host.nobody_stays = True
    with pytest.raises(Failure, match=r"none stays to take its colonies.*use colony shutdown") as all_of_them:
        host_command.leave(host, 1.0)
    assert (one.value.status, all_of_them.value.status) == (1, 4)


def test_a_port_in_use_and_a_foreign_address_are_said_plainly() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Failure, match="in use; stop what runs there"):
            host_command.check_free(f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(Failure, match=r"can't listen on tcp://192\.0\.2\.1:7420"):
        host_command.check_free("tcp://192.0.2.1:7420")


def test_a_host_is_built_from_its_options() -> None:
    _, values = parse(["host", "--name", "h9", "--box", "b1", "--join", "tcp://a:1,tcp://b:2"], {})
    built = host_command.arguments(values)
    assert built["name"] == "h9" and built["labels"] == {"box": "b1"}
    assert built["join"] == ["tcp://a:1", "tcp://b:2"] and built["expect"] == 0
