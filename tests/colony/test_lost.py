"""Lost and found: what is shown of files, and what becomes of their cells."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from agents.effects import SaveSnapshot
from agents.keeping import Keeper
from agents.messages.client import ABSENT, CONFLICT, IF_ABSENT, IF_VERSION, OK, Patch, Put, Reply
from agents.snapshot import Copy, Head, Held
from colony import lost
from colony.calls import Finish, GiveUp
from colony.cli import main
from colony.codecs import codec_named

TAG = "t" * 32
PICKLE, RAW, JSON = codec_named("cloudpickle"), codec_named("raw"), codec_named("json")


class Stranger:
    """A class that only this process has."""


CELLS: dict[bytes, Any] = {
    b"plain": (3, 0.0, PICKLE.encode({"a": [1, 2]})),
    b"raw": (4, 0.0, RAW.encode(b"\xff\x00")),
    b"json": (5, 110.0, JSON.encode("text")),  # 10 s are left when it is written
    b"sid": (6, 0.0, (("cart", PICKLE.encode([7])), ("user", PICKLE.encode("ann")))),
    b"odd": (7, 0.0, PICKLE.encode(Stranger())),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a state directory with one file that was written five seconds ago."""
    copies = (Copy(Held(1, 1 << 16, 7, 100.0, len(CELLS)), CELLS, {}),)
    head = Head(TAG, "", 5, "h" * 32, "h1", (), tuple(c.held for c in copies), reason="held dead")
    Keeper(tmp_path, lambda: time.time() - 5).job(SaveSnapshot(head, copies, 1))()
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run `colony lost`; return status, output, errors."""
    status = main(["lost", *words], environ={})
    return status, *capsys.readouterr()


def test_list_names_host_view_time_reason_and_sizes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "lost" / "0-refused.snapshot").write_bytes(b"not one")
    status, out, _ = run(capsys, "list", "--state-dir", str(folder), "--json")
    bad, good = json.loads(out)
    assert status == 0 and bad["kind"] == "refused" and "not a snapshot" in bad["error"]
    assert (good["host"], good["view"], good["reason"]) == ("h1", 5, "held dead")
    assert (good["kind"], good["colonies"], good["cells"]) == ("dropped", 1, 5)
    assert 5 <= good["age_s"] < 20 and good["bytes"] == Path(good["file"]).stat().st_size
    status, out, _ = run(capsys, "list", "--state-dir", str(folder))
    assert "of h1  view 5" in out and "1 colonies  5 cells" in out and "held dead" in out


def test_show_prints_cells_and_runs_no_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (folder / "lost").iterdir()
    status, out, _ = run(capsys, "show", path.name, "--state-dir", str(folder), "--json")
    told = {one["key"]: one for one in json.loads(out)}
    assert status == 0 and set(told) == {key.decode() for key in CELLS}
    assert told["plain"]["value"] == {"a": [1, 2]} and told["plain"]["version"] == 3
    assert told["sid"]["value"] == {"cart": [7], "user": "ann"}
    assert 0 < told["json"]["ttl_s"] <= 5 and told["raw"]["ttl_s"] is None
    assert "not opened" in told["odd"]["value"] and "Stranger" in told["odd"]["value"]
    status, out, _ = run(capsys, "show", str(path), "plain")
    assert status == 0 and '{"a": [1, 2]}' in out and "version 3" in out
    assert run(capsys, "show", str(path), "none")[0] == 1


def test_wrong_words_and_files_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, status, said in (
        (["show"], 2, "say which FILE"),
        (["list"], 2, "say which --state-dir"),
        (["find"], 2, "none of list, show, restore"),
        (["list", "--state-dir", "/no/where"], 1, "no state directory"),
        (["show", "/no/where"], 1, "colony lost list names files"),
    ):
        code, _, err = run(capsys, *words)
        assert code == status and said in err and len(err.splitlines()) == 1


# -- bringing back ---------------------------------------------------------------------


class Cluster:
    """A store that answers by what is there: key -> version."""

    def __init__(self, there: dict[bytes, int]) -> None:
        self.there = there
        self.sent: list[Any] = []
        self.fails: set[bytes] = set()
        self._transport = self

    def read(self, draft: Any, timeout_s: float) -> Reply:
        """Return a session with one attribute."""
        return Reply(0, OK, self.there.get(draft[1], 0), attributes=(("old", b""),))

    def many(self, drafts: Any, timeout_s: float, *, mutating: bool, then: Any) -> None:
        """Carry requests out."""
        for place, (kind, key, rest) in enumerate(drafts):
            request = kind(1, b"lane", place + 1, key, *rest)
            self.sent.append(request)
            if key in self.fails:
                then(place, GiveUp("no answer", True))
            else:
                then(place, Finish(self._reply(request)))

    def _reply(self, request: Put | Patch) -> Reply:
        version = self.there.get(request.key, 0)
        wanted = request.version if request.version else 0
        if request.only_if == IF_ABSENT and version:
            return Reply(1, CONFLICT, version)
        if request.only_if != IF_ABSENT and version != wanted:
            return Reply(1, CONFLICT if version else ABSENT, version)
        self.there[request.key] = version + 100
        return Reply(1, OK, version + 100)


def restored(folder: Path, cluster: Cluster, *, older: bool = False, prefix: bytes = b"") -> dict[str, Any]:
    """Bring the file back to a cluster; return the counts."""
    (path,) = (folder / "lost").iterdir()
    cells = lost.cells(lost.load(path, time.time()), prefix)
    return lost.restore(cluster, cells, comparable=lambda one: older, timeout_s=5).as_json()


def test_what_is_absent_is_born_and_what_is_there_stays(folder: Path) -> None:
    cluster = Cluster({b"plain": 1, b"sid": 2})
    counts = restored(folder, cluster)
    assert counts == {
        "restored": 3,
        "overwritten": 0,
        "present": 2,
        "expired": 0,
        "failed": 0,
        "reasons": [],
    }
    assert all(request.only_if == IF_ABSENT for request in cluster.sent)
    (brief,) = [request for request in cluster.sent if request.key == b"json"]
    assert 0 < brief.ttl_ms <= 5000 and brief.dna == CELLS[b"json"][2]
    assert restored(folder, cluster)["present"] == 5, "a second run brings nothing twice"


def test_what_has_expired_meanwhile_is_counted_and_not_written(folder: Path) -> None:
    (path,) = (folder / "lost").iterdir()
    cells = lost.cells(lost.load(path, time.time() + 60))
    tally = lost.restore(Cluster({}), cells, comparable=lambda one: False, timeout_s=5)
    assert (tally.counts["restored"], tally.counts["expired"]) == (4, 1)


def test_only_what_is_older_by_its_version_is_overwritten(folder: Path) -> None:
    cluster = Cluster({b"plain": 2, b"raw": 4, b"odd": 9, b"sid": 5})
    counts = restored(folder, cluster, older=True)
    assert (counts["restored"], counts["overwritten"], counts["present"]) == (1, 2, 2)
    changes = {r.key: r for r in cluster.sent if r.only_if != IF_ABSENT}
    assert changes[b"plain"].only_if == IF_VERSION and changes[b"plain"].version == 2
    assert changes[b"sid"].version == 5 and changes[b"sid"].gone == ("old",) and not changes[b"sid"].create


def test_failures_are_counted_with_their_reason(folder: Path) -> None:
    cluster = Cluster({})
    cluster.fails = {b"raw"}
    counts = restored(folder, cluster)
    assert (counts["restored"], counts["failed"]) == (4, 1) and "no answer" in counts["reasons"][0]


def test_a_prefix_limits_it(folder: Path) -> None:
    assert restored(folder, Cluster({}), prefix=b"s")["restored"] == 1
