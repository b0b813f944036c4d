"""Around a supervisor: processes, registry, control link, desk, command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.neighbours import Beat
from agents.recruiting import Claim, Keep
from agents.services import End, Handle, Phase, Service
from agents.supervisor import Attest, Tell
from colony import supervise_child
from colony.cli import main, parse
from colony.commands.base import Call
from colony.commands.supervise import arguments_of, plan_of, ps_lines
from colony.config import UsageError
from colony.control import ControlLink, parse_address
from colony.desk import Answered, Attested, ClaimAnswered, Desk
from colony.errors import Denied, Unavailable, VersionConflict
from colony.providers import Order, Processes, provider_named
from colony.registry import Card, Registry, RegistryError, kept_of, read
from placement import probe

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


class Sleepers(Processes):
    """Hosts that only sleep."""

    def command(self, order: Order, ended: Path) -> list[str]:
        """Return what sleeps, or ends as the arguments say."""
        return [*SLEEP[:-1], order.arguments[0]] if order.arguments else SLEEP


def ended(provider: Processes, handle: Handle) -> End:
    """Wait until a process is gone."""
    end_s = time.monotonic() + 20.0
    while (end := provider.poll(handle)) is None:
        assert time.monotonic() < end_s
        time.sleep(0.005)
    return end


def order(folder: Path, *arguments: str) -> Order:
    """Return an order to start a host."""
    return Order("h1", f"s1/h1/{os.getpid()}", arguments, folder)


# -- processes -------------------------------------------------------------------------


def test_a_process_outlives_who_started_it_and_is_as_well_known_to_the_next(tmp_path: Path) -> None:
    first, second = Sleepers(), Sleepers()
    handle = json.loads(json.dumps(first.start(order(tmp_path))))
    try:
        assert first.poll(handle) is None and second.poll(handle) is None
        end_s = time.monotonic() + 20.0
        while (found := second.find(order(tmp_path))) is None and time.monotonic() < end_s:
            time.sleep(0.01)  # the kernel shows the environment of a new program a moment later
        assert found == handle, "by its token, if nobody wrote it down"
        assert second.find(replace(order(tmp_path), token="s1/h1/none")) is None
        second.stop({**handle, "started_s": handle["started_s"] - 1.0}, now=True)
        assert first.poll(handle) is None, "that pid belongs to another process: it is not touched"
        (tmp_path / "ended").write_text("0\n")
        second.stop(handle, now=True)
        assert ended(first, handle) == End(None, "by SIGKILL", is_certain=True)
        assert ended(second, handle).status == 0, "it had written down that it left"
        (tmp_path / "ended").unlink()
        assert ended(second, handle).status is None
    finally:
        if not probe.process_gone(handle["pid"], handle["started_s"]):
            os.kill(handle["pid"], signal.SIGKILL)


def test_an_exit_status_comes_with_its_last_words(tmp_path: Path) -> None:
    provider = Sleepers()
    handle = provider.start(order(tmp_path, "print('no room'); raise SystemExit(1)"))
    assert ended(provider, handle) == End(1, "with status 1: no room", is_certain=True)


def test_a_provider_is_found_by_its_dotted_name() -> None:
    assert type(provider_named("")) is Processes
    assert type(provider_named("tests.colony.test_supervise:Sleepers")) is Sleepers
    for wrong in ("nowhere.at_all:It", "json:nothing", "plain"):
        with pytest.raises(ValueError, match="no provider"):
            provider_named(wrong)
    with pytest.raises(ValueError, match="lacks start, poll, stop, describe"):
        provider_named("builtins.dict")


def test_a_child_leaves_its_exit_status_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert supervise_child.main([str(tmp_path / "ended"), "host", "--nonsense"]) == 2
    assert (tmp_path / "ended").read_text() == "2\n"
    supervise_child.main([str(tmp_path / "nowhere" / "ended"), "host", "--nonsense"])
    assert "can't write" in capsys.readouterr().err


# -- registry --------------------------------------------------------------------------


def test_a_registry_tells_the_next_supervisor_and_keeps_a_second_one_out(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "s1")
    service = Service("h1", slot=0, phase=Phase.RUNNING, handle={"pid": 7, "started_s": 1.5}, starts=2)
    registry.save(Card("s1", machine="m", life=3), [service])
    found = read(tmp_path / "s1")
    assert found is not None and (found[0].name, found[0].life, found[1]) == ("s1", 3, [service])
    assert kept_of(found, "m").is_here and not kept_of(found, "n").is_here and not kept_of(found, "").is_here
    with pytest.raises(RegistryError, match="another supervisor"):
        Registry(tmp_path / "s1")
    registry.close()
    Registry(tmp_path / "s1").close()
    assert read(tmp_path) is None and kept_of(None, "m").services == ()


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', '{"format": 9}', "[1]"])
def test_a_registry_that_makes_no_sense_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "supervise.json").write_text(text)
    with pytest.raises(RegistryError, match=r"supervise\.json"):
        read(tmp_path)


def test_a_registry_that_others_may_write_names_no_commands_for_us(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.save(Card("s1"), [])
    registry.close()
    (tmp_path / "supervise.json").chmod(0o660)
    with pytest.raises(RegistryError, match="others may write"):
        read(tmp_path)


# -- control link ----------------------------------------------------------------------


def test_supervisors_hear_each_other_and_nobody_else() -> None:
    one = ControlLink(("127.0.0.1", 0), [], b"secret")
    other = ControlLink(("127.0.0.1", 0), [one.address], b"secret")
    liar = ControlLink(("127.0.0.1", 0), [one.address], b"another")
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    beat = Beat("s2", "m", 7, 1.5, life=5, number=1, folder="/f", hosts=tuple(f"h{n}" for n in range(99)))
    try:
        liar.say(beat)
        for garbage in (b"", b"x" * 10, b"{}" + bytes(16), b"x" * 5000):
            stranger.sendto(garbage, one.address)
        other.say(beat)
        heard: list[Beat] = []
        while not heard:
            heard = one.heard()
        assert [b.name for b in heard] == ["s2"] and heard[0].hosts == beat.hosts[:24]
        one.say(replace(beat, name="s1"))  # it was told, so it knows where to tell
        while not (back := other.heard()):
            pass
        assert back[0].name == "s1" and liar.heard() == []
    finally:
        for link in (one, other, liar):
            link.close()
        stranger.close()


def test_addresses_of_the_control_link_are_checked() -> None:
    assert parse_address("10.0.0.4:7400") == ("10.0.0.4", 7400) and parse_address("[::1]:7") == ("::1", 7)
    for wrong in ("7400", "10.0.0.4", "10.0.0.4:x", "10.0.0.4:70000"):
        with pytest.raises(ValueError, match="not an address"):
            parse_address(wrong)


# -- the desk --------------------------------------------------------------------------


class Cluster:
    """Hosts that answer a supervisor, at addresses; those that are down don't."""

    def __init__(self, *up: str) -> None:
        self.up, self.claim, self.told = set(up), 0, list[tuple[str, str, Any]]()
        self.denies = False

    def connect(self, addresses: str, **options: Any) -> Cluster:
        """Return a store at the first address that is up."""
        self.at = next((a for a in addresses.split(",") if a in self.up), "")
        if not self.at:
            raise Unavailable("no connection")
        return self

    def admin(self, command: str, arguments: Any, timeout: float | None = None) -> Any:
        """Answer as a host does."""
        if command != "capacity":
            self.told.append((self.at, command, arguments))
        if command == "attest" and self.denies:
            raise Denied("it is another process now")
        member = {"name": "h1", "address": "tcp://a"}, {"name": "h2", "address": "tcp://b"}
        return {"members": member, "wanted": 1, "quorum": True, "attested": True}

    def set(self, key: str, value: Any, **options: Any) -> int:
        """Add the claim, if there is none."""
        self.claim += 1
        return 1 if self.claim == 1 else 0

    def replace(self, key: str, value: Any, *, version: int, **options: Any) -> int:
        """Refuse: it ran out."""
        raise VersionConflict(key)

    def close(self) -> None:
        """Close nothing."""


def test_the_desk_attests_reports_and_claims() -> None:
    cluster, inbox = Cluster("tcp://b"), list[Any]()
    desk = Desk(cluster.connect, "s1", ["tcp://a", "tcp://b"], ["tcp://a"], inbox.append)
    try:
        handle = {"machine": "m", "pid": 7, "started_s": 1.0, "log": "…"}
        until(lambda: any(isinstance(news, Answered) for news in inbox))
        assert desk.addresses == ["tcp://b", "tcp://a"], "who is not of this box hears of it first"
        desk.attest(Attest("h1", handle, "by SIGKILL"))
        desk.report(Tell("restart", "ended", "h1"))
        desk.order(Claim("s1-2"))
        desk.order(Keep(9.0))
        until(lambda: {Attested, ClaimAnswered} <= {type(news) for news in inbox} and len(cluster.told) >= 2)
        told = {command: (at, arguments) for at, command, arguments in cluster.told}
        assert told["attest"][0] == "tcp://b" and "log" not in told["attest"][1]
        assert told["report"][1] == {"kind": "restart", "reason": "ended", "host": "h1", "by": "s1"}
        assert ClaimAnswered(True) in inbox
        desk.order(Claim("s1-2"))
        until(lambda: ClaimAnswered(False) in inbox)
        cluster.denies = True
        desk.attest(Attest("h1", handle, ""))
        until(lambda: any("not believed" in news.outcome for news in inbox if isinstance(news, Attested)))
    finally:
        desk.close()


def until(true: Any) -> None:
    """Wait for something that another thread does."""
    end_s = time.monotonic() + 20.0
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.005)


# -- the command line ------------------------------------------------------------------


def called(*words: str) -> Call:
    """Return one call of `colony supervise`."""
    _, values = parse(["supervise", "--state-dir", "/s", *words], {})
    return Call(values, lambda addresses: None)


def test_hosts_are_given_by_number_or_by_name() -> None:
    assert plan_of(called("--name", "b1", "--hosts", "2")).hosts == ("b1-1", "b1-2")
    plan = plan_of(called("--name", "b1", "--hosts", "x,y", "--max-hosts", "3", "--give-up-after", "4"))
    assert (plan.hosts, plan.hosts_max, plan.ladder.failures_max) == (("x", "y"), 3, 4)
    for wrong in (["--hosts", "x,x"], ["--hosts", "x,y", "--max-hosts", "1"], ["--name", "a/b"]):
        with pytest.raises(UsageError):
            plan_of(called(*wrong))


def test_a_host_gets_its_own_port_and_what_was_passed_on() -> None:
    call = called("--listen", "tcp://10.0.0.4:7420", "--metrics", "9420", "--box", "b", "--join", "tcp://c:1")
    found = arguments_of(call, ["--expect", "3"], "h2", 1, 5, ["tcp://10.0.0.4:7421", "tcp://10.0.0.4:7420"])
    _, values = parse(found, {})
    assert (values["name"], values["listen"], values["expect"]) == ("h2", "tcp://10.0.0.4:7421", 3)
    assert (values["join"], values["restarts"]) == (["tcp://c:1", "tcp://10.0.0.4:7420"], 5)
    assert (values["metrics"], values["box"], values["state_dir"]) == (
        "tcp://127.0.0.1:9421",
        "b",
        "/s/hosts/h2/state",
    )


def test_what_can_not_be_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["supervise"], "--state-dir"),
        (["ps"], "--state-dir"),
        (["supervise", "--state-dir", str(tmp_path), "--control", "10.0.0.4:7400"], "needs --keys"),
        (["supervise", "--state-dir", str(tmp_path), "--provider", "nowhere.It"], "no provider nowhere.It"),
        (["ps", "--state-dir", str(tmp_path)], "no supervisor has ever"),
    ):
        assert main(words, environ={}) in (1, 2)
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1


def test_what_is_looked_after_is_shown_as_a_table() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "h1", "kind": "host", "phase": "running", "ready": True, "handle": {"pid": 7}, "starts": 2},
        {
            "name": "supervisor:s2",
            "kind": "supervisor",
            "phase": "due",
            "handle": None,
            "reason": "by SIGKILL",
        },
    ]
    lines = ps_lines([{**row, "process": "runs"} for row in rows])
    assert lines[1].split()[:4] == ["h1", "host", "ACTIVE", "7"] and lines[2].split()[0] == "s2"
    assert "by SIGKILL" in lines[2]
