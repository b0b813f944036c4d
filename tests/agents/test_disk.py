"""The durable record on disk: what comes back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.disk import (
    MAGIC,
    RecordFile,
    RecordRefused,
    decode_record,
    encode_record,
    ephemeral,
    load_or_create,
)
from agents.messages.membership import Ballot
from agents.record import Record
from agents.views import Charter, Member, View

VIEW = View("t" * 32, 1, Charter(), (Member("a" * 32, 1, "a", "tcp://x:1", "tcp://x:2", entered=1),))
FULL = Record("a" * 32, 3, "t" * 32, VIEW, Ballot(4, "b" * 32), Ballot(3, "b" * 32), VIEW)


def test_an_empty_directory_makes_a_new_host(tmp_path: Path) -> None:
    file, record = load_or_create(tmp_path / "made" / "on the way")
    assert len(record.host) == 32 and record.incarnation == 1 and record.view is None
    assert file.load() == record
    file.close()


def test_each_start_is_a_later_incarnation_with_all_that_was_recorded(tmp_path: Path) -> None:
    file, record = load_or_create(tmp_path)
    file.save(FULL)
    file.close()
    file, record = load_or_create(tmp_path)
    assert record.incarnation == 4 and record.host == FULL.host
    assert (record.view, record.promised, record.accepted) == (VIEW, FULL.promised, FULL.accepted)
    file.close()


def test_two_processes_never_share_a_directory(tmp_path: Path) -> None:
    file, _ = load_or_create(tmp_path)
    with pytest.raises(RecordRefused, match="another host process"):
        load_or_create(tmp_path)
    file.close()
    file.close()
    again, _ = load_or_create(tmp_path)
    again.close()


def test_a_half_written_temporary_file_is_no_harm(tmp_path: Path) -> None:
    file, record = load_or_create(tmp_path)
    (tmp_path / "record.new").write_bytes(encode_record(FULL)[:40])
    assert file.load() == record
    file.save(FULL)
    assert file.load() == FULL
    file.close()


@pytest.mark.parametrize("length", range(0, len(encode_record(FULL)), 7))
def test_a_torn_record_is_refused(length: int) -> None:
    with pytest.raises(RecordRefused, match="move the directory away"):
        decode_record(encode_record(FULL)[:length], "record")


@pytest.mark.parametrize("place", range(0, len(encode_record(FULL)), 5))
def test_a_damaged_record_is_refused(place: int) -> None:
    data = bytearray(encode_record(FULL))
    data[place] ^= 0x20
    with pytest.raises(RecordRefused):
        decode_record(bytes(data), "record")


def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(b"my shopping list")
    with pytest.raises(RecordRefused, match="not a record"):
        load_or_create(tmp_path)
    assert (tmp_path / "record").read_bytes() == b"my shopping list"


def test_a_record_that_names_no_host_is_refused() -> None:
    with pytest.raises(RecordRefused, match="names no host"):
        decode_record(encode_record(Record("", 1)), "record")


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordRefused):
        RecordFile(tmp_path / "file" / "below")


def test_magic_names_the_version() -> None:
    assert encode_record(FULL).startswith(MAGIC)
    assert decode_record(encode_record(FULL), "record") == FULL


def test_a_host_without_a_directory_is_new_each_time() -> None:
    assert ephemeral().host != ephemeral().host
