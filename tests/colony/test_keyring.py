"""Key files: made once, kept secret, read with suspicion."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import colony
from agents.access import Role
from colony import keyring
from colony.cli import main
from colony.keyring import KeysError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a directory with the first keys."""
    keyring.make(tmp_path / "keys")
    return tmp_path / "keys"


def test_the_first_keys_are_secret_and_listed(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    roster = keyring.roster_in(folder)
    assert sorted(holder.role for holder in roster.values()) == sorted(Role)
    assert keyring.host_keys(folder).public == (folder / "host.pub").read_text().strip()


def test_nothing_is_overwritten(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(KeysError, match="overwrites nothing"):
        keyring.make(folder)
    (folder / "authorized").unlink()
    with pytest.raises(KeysError, match="overwrites nothing"):
        keyring.make(folder)
    keyring.make(folder.parent / "others")
    for path, data in before.items():
        assert path.name == "authorized" or path.read_bytes() == data


def test_one_more_key_is_added(folder: Path) -> None:
    keyring.add(folder, Role.CLIENT, "web1")
    assert [h.name for h in keyring.roster_in(folder).values()][-1] == "web1"
    with pytest.raises(KeysError, match="already"):
        keyring.add(folder, Role.OBSERVER, "web1")
    with pytest.raises(KeysError, match="no name"):
        keyring.add(folder, Role.CLIENT, "../web")
    with pytest.raises(KeysError, match=r"share host\.key"):
        keyring.add(folder, Role.HOST, "h2")
    with pytest.raises(KeysError, match="make the first ones"):
        keyring.add(folder.parent, Role.CLIENT, "web2")


def test_a_secret_that_others_can_read_is_none(folder: Path) -> None:
    for name, read in (
        ("host.key", lambda: keyring.host_keys(folder)),
        ("client.key", lambda: keyring.client_curve(folder, "client")),
    ):
        (folder / name).chmod(0o640)
        with pytest.raises(KeysError, match="chmod 600"):
            read()
        (folder / name).chmod(0o600)
        read()
    (folder / "authorized").chmod(0o666)
    with pytest.raises(KeysError, match="others may write"):
        keyring.host_keys(folder)


def test_a_clients_machine_needs_its_secret_and_the_hosts_public_key(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(0o700)
    with pytest.raises(KeysError, match="no secret key"):
        keyring.client_curve(mine)
    for name in ("observer.key", "host.pub"):
        (mine / name).write_text((folder / name).read_text())
        (mine / name).chmod(0o600)
    curve = keyring.client_curve(mine)
    assert curve.public.decode() == (folder / "observer.pub").read_text().strip()
    (mine / "host.pub").unlink()
    with pytest.raises(KeysError, match=r"host\.pub"):
        keyring.client_curve(mine)


def test_of_several_keys_the_operators_comes_first_and_two_alike_must_be_named(folder: Path) -> None:
    def used(key: str | None = None) -> str:
        return keyring.client_curve(folder, key).public.decode() + "\n"

    assert used() == (folder / "operator.pub").read_text()
    assert used("observer") == (folder / "observer.pub").read_text()
    keyring.add(folder, Role.OPERATOR, "ann")
    (folder / "operator.key").unlink()
    assert used() == (folder / "operator-ann.pub").read_text()
    keyring.add(folder, Role.OPERATOR, "bob")
    with pytest.raises(KeysError, match="operator-ann, operator-bob"):
        used()


@pytest.mark.parametrize("name", ["host.key", "host.pub", "authorized"])
def test_a_file_of_something_else_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(os.urandom(100))
    with pytest.raises(KeysError):
        keyring.host_side(folder)
    (folder / name).unlink()
    with pytest.raises(KeysError, match="can't read"):
        keyring.host_side(folder)


def test_a_changed_list_is_read_again_and_a_broken_one_is_not_taken(folder: Path) -> None:
    look = keyring.roster_reader(folder)
    assert look() is None
    keyring.add(folder, Role.CLIENT, "web1")
    roster = look()
    assert roster is not None and len(roster) == 5 and look() is None
    (folder / "authorized").write_text("what is this\n")
    with pytest.raises(KeysError, match="line 1"):
        look()
    with pytest.raises(KeysError, match="line 1"):
        look()


def test_keygen_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = str(tmp_path / "k")
    assert main(["keygen", where], environ={}) == 0
    assert "host.key" in capsys.readouterr().out
    assert main(["keygen", where], environ={}) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "overwrites nothing" in said
    assert main(["keygen", where, "--role", "client", "--name", "web1"], environ={}) == 0
    assert (tmp_path / "k" / "client-web1.key").exists()
    assert main(["keygen", where, "--role", "client"], environ={}) == 2


@pytest.mark.parametrize(
    "where", ["tcp://0.0.0.0:0", "tcp://10.9.8.7:7420", "tcp://[::]:0", "tcp://example.org:1"]
)
def test_an_open_door_needs_keys_or_a_word(where: str) -> None:
    for host in (colony.Host(where), colony.Host("tcp://127.0.0.1:0", link=where)):
        with pytest.raises(colony.ColonyError, match=r"colony keygen .*--insecure"):
            host.start()


def test_an_open_door_says_so() -> None:
    host = colony.Host("tcp://127.0.0.1:0", link="tcp://0.0.0.0:0", insecure=True)
    with host:
        assert host.is_insecure and host.store().admin("status")["insecure"]
        assert host.server.notes.after(0)[0].note.kind == "insecure"
    with colony.Host("tcp://127.0.0.1:0", insecure=True) as host:
        assert not host.is_insecure
