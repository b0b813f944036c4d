"""The record under faults: a crash at each write, and disks that refuse."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.disk import MAGIC, Files, RecordFile, RecordRefused, encode_record, load_or_create
from agents.effects import Halt, HelloSeen, LinkCameUp, Persist, Received, Send
from agents.membership import Membership, Settings
from agents.messages.membership import Accept, Accepted, Ballot, Install, Prepare, Promise, Refused
from agents.record import Record
from agents.views import Charter, Member, Status, View

STEPS = ("before the write", "torn", "written, not renamed", "renamed, not synced", "synced")


class Crashed(Exception):
    """The machine lost its power here."""


@dataclass
class Platter(Files):
    """A disk that loses its power in a chosen step of a chosen write.

    Attributes:
        durable: The record that surely survives.
        maybe: What else may be found in its place after a crash.
        crash_at: (number of the save from 1, one of `STEPS`).
    """

    durable: bytes | None = None
    maybe: list[bytes] = field(default_factory=list)
    crash_at: tuple[int, str] = (0, "")
    saves: int = 0
    temporary: bytes = b""

    def read(self, path: Path) -> bytes:
        """Return the record."""
        if self.durable is None:
            raise FileNotFoundError(errno.ENOENT, "none", str(path))
        return self.durable

    def write(self, path: Path, data: bytes) -> None:
        """Write the temporary file, which no reader looks at."""
        self.saves += 1
        self._reach("before the write")
        self.temporary = data
        self._reach("torn")
        self._reach("written, not renamed")

    def replace(self, path: Path, by: Path) -> None:
        """Rename: a crash may undo it until the directory is synced."""
        self.maybe = [self.temporary]
        self._reach("renamed, not synced")

    def sync(self, directory: Path) -> None:
        """Make the rename durable."""
        self.durable, self.maybe = self.temporary, []
        self._reach("synced")

    def _reach(self, step: str) -> None:
        if self.crash_at == (self.saves, step):
            raise Crashed

    def outcomes(self) -> list[bytes | None]:
        """Return each record that may be found after a crash now."""
        return [self.durable, *self.maybe]


class Unsynced(Platter):
    """A mistake: the file is renamed before its bytes are on the disk."""

    def replace(self, path: Path, by: Path) -> None:
        """Rename what may be torn: each class of places is a possible end."""
        data = self.temporary
        self.maybe = [data[:0], data[:1], data[: len(MAGIC)], data[: len(MAGIC) + 16], data[:-1], data]
        self._reach("renamed, not synced")


class Forgetful(Platter):
    """A mistake: nobody waits until the directory is on the disk."""

    def sync(self, directory: Path) -> None:
        """Do nothing: from now on either record may be found."""
        self.maybe = [self.temporary]
        self._reach("synced")


def member(host: str, incarnation: int = 1) -> Member:
    """Return a member of one letter."""
    links = f"tcp://{host}:1", f"tcp://{host}:2"
    return Member(host, incarnation, host, *links, status=Status.ACTIVE, entered=1)


VIEW = View("t", 1, Charter(colonies=1), tuple(member(host) for host in "abcde"))
WITHOUT_D = View("t", 2, VIEW.charter, VIEW.members[:3], (), (("d", 1),))
WITHOUT_E = View("t", 2, VIEW.charter, VIEW.members[:4], (), (("e", 1),))
SCRIPT: tuple[tuple[str, Any], ...] = (
    ("a", Prepare(1, Ballot(1, "a"))),
    ("c", Prepare(1, Ballot(2, "c"))),
    ("a", Accept(1, Ballot(1, "a"), WITHOUT_D)),  # too late: b has promised c
    ("c", Accept(1, Ballot(2, "c"), WITHOUT_E)),
    ("a", Prepare(1, Ballot(3, "a"))),
    ("a", Accept(1, Ballot(3, "a"), WITHOUT_E)),
)


class Voter:
    """Host b, on a disk; it says nothing before its record is written (unless it is told to be rash)."""

    def __init__(self, folder: Path, disk: Platter, *, is_rash: bool = False) -> None:
        self.file, record = load_or_create(folder, disk)
        self.machine = Membership(member("b", record.incarnation), Settings(), record, 100.0)
        self.is_rash = is_rash
        for other in "acde":
            self.machine.handle(HelloSeen(member(other), "t", 1, "COMMIT"), 100.0)
            self.machine.handle(LinkCameUp(other, 1), 100.0)

    def hear(self, sender: str, message: Any) -> list[Any]:
        """Take a message; return what was said to that, with a crash in between perhaps."""
        effects = self.machine.handle(Received(sender, message), 100.0)
        said: list[Any] = [effect.message for effect in effects if isinstance(effect, Send)]
        told: list[Any] = said if self.is_rash else []
        try:
            for effect in effects:
                if isinstance(effect, Persist):
                    self.file.save(effect.record)
                elif isinstance(effect, Send) and not self.is_rash:
                    told.append(effect.message)
        except Crashed:
            self.file.close()
            raise Crashed(told) from None
        return told


def broken_word(told: list[Any], folder: Path, disk: Platter) -> str:
    """Start again, ask about all that was ever told, and return what is not kept to; "" = nothing."""
    try:
        voter = Voter(folder, disk)
    except RecordRefused as refused:
        return f"a crash alone makes the record useless: {refused}"
    try:
        return denied(told, voter)
    finally:
        voter.file.close()


def denied(told: list[Any], voter: Voter) -> str:
    """Return which of its words a host does not know any more; "" = none."""
    promised = max((m.ballot for m in told if isinstance(m, Promise | Accepted)), default=Ballot(0, ""))
    accepted = max((m.ballot for m in told if isinstance(m, Accepted)), default=None)
    if promised.round:
        (answer,) = voter.hear("d", Prepare(1, Ballot(promised.round - 1, "d")))
        if not isinstance(answer, Refused):
            return f"{promised} was promised, and a lower one is again"
    (answer,) = voter.hear("e", Prepare(1, Ballot(9, "e")))
    assert isinstance(answer, Promise)
    if accepted is not None and (answer.accepted_ballot or Ballot(0, "")) < accepted:
        return f"{accepted} was accepted, and is denied"
    if accepted is not None and answer.accepted not in (WITHOUT_E,):
        return "another value was accepted than the one it says"
    return ""


def findings(folder: Path, kind: type[Platter], *, is_rash: bool = False) -> list[str]:
    """Crash in each step of each write, look at each disk that may come of it; return what is wrong."""
    first = encode_record(Record("b", 1, "t", VIEW))
    found = []
    for save in range(1, 8):
        for step in STEPS:
            told: list[Any] = []
            disk = kind(first, crash_at=(save, step))
            try:
                voter = Voter(folder, disk, is_rash=is_rash)
                for sender, message in SCRIPT:
                    told += voter.hear(sender, message)
                voter.file.close()
            except Crashed as crash:
                told += crash.args[0] if crash.args else []
            for outcome in disk.outcomes():
                wrong = broken_word(told, folder, Platter(outcome))
                if wrong:
                    found.append(f"save {save}, {step}: {wrong}")
    return found


def test_a_crash_in_any_step_of_any_write_breaks_no_word(tmp_path: Path) -> None:
    assert findings(tmp_path, Platter) == []


@pytest.mark.parametrize(("kind", "is_rash"), [(Unsynced, False), (Forgetful, False), (Platter, True)])
def test_such_mistakes_would_be_found(tmp_path: Path, kind: type[Platter], is_rash: bool) -> None:
    assert findings(tmp_path, kind, is_rash=is_rash)


# -- disks that refuse -------------------------------------------------------------------


class Refusing(Files):
    """A file system that refuses to write, with an errno."""

    def __init__(self, number: int) -> None:
        self.number = number

    def write(self, path: Path, data: bytes) -> None:
        """Refuse."""
        raise OSError(self.number, "as the kernel words it", str(path))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "mount it writable"),
        (errno.EACCES, "chown"),
        (errno.EIO, "another --state-dir"),
    ],
)
def test_a_start_that_cannot_write_is_refused_with_what_to_do(
    tmp_path: Path, number: int, advice: str
) -> None:
    with pytest.raises(RecordRefused, match=advice) as refused:
        load_or_create(tmp_path, Refusing(number))
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)
    file, record = load_or_create(tmp_path)  # and nothing stays locked or half written
    assert record.incarnation == 1
    file.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 64 KiB, where that may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_keeps_the_record_that_was_there(small_disk: Path) -> None:
    file, record = load_or_create(small_disk)
    with (small_disk / "filler").open("wb") as filler, pytest.raises(OSError):
        filler.write(b"x" * 100_000)
    with pytest.raises(OSError, match="No space"):
        file.save(record)
    assert file.load() == record
    file.close()
    with pytest.raises(RecordRefused, match="free some space"):
        load_or_create(small_disk)
    (small_disk / "filler").unlink()
    again, later = load_or_create(small_disk)
    assert (later.host, later.incarnation) == (record.host, 2)
    again.close()


def test_a_disk_that_is_read_only_is_named(small_disk: Path) -> None:
    file, _ = load_or_create(small_disk)
    file.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(RecordRefused, match="mount it writable"):
        load_or_create(small_disk)


# -- records that are not ours ------------------------------------------------------------


def test_a_record_of_a_later_format_names_it(tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(MAGIC.replace(b"1", b"2") + b"whatever that will be")
    with pytest.raises(RecordRefused, match=r"later version of colony \(format 2"):
        load_or_create(tmp_path)


def test_a_record_that_was_spoiled_is_never_used_again(tmp_path: Path) -> None:
    file = RecordFile(tmp_path)
    file.save(Record("b", 4, spoiled="it is a copy"))
    file.close()
    with pytest.raises(RecordRefused, match="it is a copy; move the directory away"):
        load_or_create(tmp_path)


def test_a_record_from_before_the_last_field_is_read(tmp_path: Path) -> None:
    body = msgspec.msgpack.encode(("b", 3, "t", None, None, None, None))
    (tmp_path / "record").write_bytes(MAGIC + hashlib.blake2b(body, digest_size=16).digest() + body)
    file, record = load_or_create(tmp_path)
    assert (record.host, record.incarnation, record.tag, record.spoiled) == ("b", 4, "t", "")
    file.close()


# -- records that are old, or copies --------------------------------------------------------


def process(incarnation: int, pid: int) -> Member:
    """Return host b as some process."""
    return Member("b", incarnation, "b", "tcp://b:1", "tcp://b:2", pid=pid, entered=1)


def told(me: Member, listed: Member | None, gone: int = 0) -> list[Any]:
    """Return what host b does when it is told of a view that knows it like this."""
    machine = Membership(me, Settings(), Record("b", me.incarnation, "t", VIEW), 100.0)
    machine.handle(HelloSeen(member("a"), "t", 7, "COMMIT"), 100.0)
    machine.handle(LinkCameUp("a", 1), 100.0)
    members = (member("a"), member("c"), *((listed,) if listed is not None else ()))
    view = View("t", 7, VIEW.charter, members, gone=(("b", gone),) if gone else ())
    return machine.handle(Received("a", Install(view)), 100.0)


@pytest.mark.parametrize(
    ("listed", "gone"),
    [(process(9, 70), 0), (process(4, 70), 0), (None, 6)],
    ids=["a later life is listed", "another process is this life", "a later life was dropped"],
)
def test_a_host_that_was_outlived_ends_and_says_so(listed: Member | None, gone: int) -> None:
    effects = told(process(4, 50), listed, gone)
    (halt,) = [effect for effect in effects if isinstance(effect, Halt)]
    assert halt.status == 1 and "old, or a copy" in halt.reason and "move the state directory" in halt.reason
    (saved,) = [effect.record for effect in effects if isinstance(effect, Persist)]
    assert saved.spoiled and saved.view == VIEW, "a restart must not count itself up to the present"


@pytest.mark.parametrize(("listed", "gone"), [(process(3, 70), 0), (process(4, 50), 0), (None, 4), (None, 3)])
def test_a_host_with_its_own_record_is_not_outlived(listed: Member | None, gone: int) -> None:
    assert not any(isinstance(effect, Halt) for effect in told(process(4, 50), listed, gone))
