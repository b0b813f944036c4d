"""Key files: made by `colony keygen`, read by hosts and clients.

A directory holds what one machine needs, and may be copied in parts:

- `host.pub`: the public key that all hosts of a cluster share. Everybody needs it.
- `host.key`, `authorized`: of hosts alone. `authorized` lists who may connect as what.
- `client.key`, `operator.key`, `observer.key`, or `client-web1.key`: one holder's secret.

A `.key` that others than its owner can read is refused: it is no secret.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agents.access import Holder, Role, Roster, is_key, is_name, read_roster, role_named
from agents.client_link import Curve
from agents.curve import HostKeys, new_pair, public_of
from colony.errors import ColonyError

AUTHORIZED = "authorized"
HOST_PUBLIC = "host.pub"
FIRST = (Role.HOST, Role.CLIENT, Role.OPERATOR, Role.OBSERVER)
_PREFERRED = (Role.OPERATOR, Role.CLIENT, Role.OBSERVER, Role.HOST)  # if nobody says which
FILE_BYTES_MAX = 1024 * 1024


class KeysError(ColonyError):
    """Keys that can't be made, read or trusted; the text says what to do."""


# -- making --------------------------------------------------------------------


def make(directory: str | os.PathLike[str]) -> list[Path]:
    """Make the first keys of a cluster; return the files.

    Raises:
        KeysError: There are some already, or the directory is open to others.
    """
    folder = _folder(Path(directory))
    for role in FIRST:
        _refuse_if_there(folder, role.word)
    if (folder / AUTHORIZED).exists():
        raise KeysError(f"{folder / AUTHORIZED} is there already; keygen overwrites nothing")
    made = []
    lines = ["# who may connect: public key, role, name"]
    for role in FIRST:
        public, files = _write_pair(folder, role.word)
        lines.append(f"{public} {role.word} {role.word}")
        made += files
    _write_new(folder / AUTHORIZED, "\n".join(lines) + "\n")
    return [*made, folder / AUTHORIZED]


def add(directory: str | os.PathLike[str], role: Role, name: str) -> list[Path]:
    """Make one more key pair and authorise it; return the files.

    Raises:
        KeysError: The name makes no sense or is taken, or there is no list to add it to.
    """
    folder = Path(directory)
    if role is Role.HOST:
        raise KeysError("all hosts share host.key: copy it to the new host instead")
    if not is_name(name):
        raise KeysError(f"{name!r} is no name for a key: letters, digits, dots, dashes, at most 64")
    authorized = folder / AUTHORIZED
    if not authorized.is_file():
        raise KeysError(f"{folder} has no list of keys: make the first ones with colony keygen {folder}")
    names = {holder.name for holder in roster_in(folder).values()}
    stem = f"{role.word}-{name}"
    if name in names:
        raise KeysError(f"{authorized} has a key named {name!r} already")
    _refuse_if_there(folder, stem)
    public, files = _write_pair(folder, stem)
    text = authorized.read_text(encoding="ascii")
    gap = "" if not text or text.endswith("\n") else "\n"
    _replace(authorized, f"{text}{gap}{public} {role.word} {name}\n")
    return [*files, authorized]


def _folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise KeysError(f"{folder} is no directory") from None
        if not any(folder.iterdir()):
            folder.chmod(0o700)
        elif folder.stat().st_mode & 0o077:
            raise KeysError(f"others may look into {folder}: chmod 700 {folder}") from None
    except OSError as error:
        raise KeysError(f"can't make {folder}: {error.strerror}") from None
    return folder


def _refuse_if_there(folder: Path, stem: str) -> None:
    for path in (folder / f"{stem}.key", folder / f"{stem}.pub"):
        if path.exists():
            raise KeysError(f"{path} is there already; keygen overwrites nothing")


def _write_pair(folder: Path, stem: str) -> tuple[str, list[Path]]:
    public, secret = new_pair()
    files = [folder / f"{stem}.key", folder / f"{stem}.pub"]
    _write_new(files[0], secret + "\n")
    _write_new(files[1], public + "\n")
    return public, files


def _write_new(path: Path, text: str) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        raise KeysError(f"can't write {path}: {error.strerror}") from None


def _replace(path: Path, text: str) -> None:
    """Put a text in a file's place: a host that reads just now finds the old one, or the new one."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    _write_new(fresh, text)
    os.replace(fresh, path)


# -- reading -------------------------------------------------------------------


class HostSide(NamedTuple):
    """What a host needs; nothing of it without keys.

    Attributes:
        keys: Of its endpoints and links.
        curve: Of its stores' connections to other hosts.
        read_roster: Returns the list of keys when it differs from the time before, else None.
    """

    keys: HostKeys | None = None
    curve: Curve | None = None
    read_roster: Callable[[], Roster | None] | None = None


def host_side(directory: str | os.PathLike[str] | None) -> HostSide:
    """Return what a host needs of its directory; raises `KeysError`."""
    if directory is None:
        return HostSide()
    return HostSide(host_keys(directory), client_curve(directory, "host"), roster_reader(directory))


def host_keys(directory: str | os.PathLike[str]) -> HostKeys:
    """Return the keys of a host's endpoints; raises `KeysError`."""
    folder = Path(directory)
    secret = _secret(folder / "host.key")
    keys = HostKeys(secret, roster_in(folder))
    holder = keys.roster.get(keys.public)
    if holder is None or holder.role is not Role.HOST:
        raise KeysError(f"{folder / AUTHORIZED} does not list this host's own key as a host")
    return keys


def roster_in(directory: str | os.PathLike[str]) -> dict[str, Holder]:
    """Return who may connect, as `authorized` says; raises `KeysError`."""
    path = Path(directory) / AUTHORIZED
    text, mode = _read(path)
    if mode & 0o022:
        raise KeysError(f"others may write to {path}: chmod 600 {path}")
    try:
        return read_roster(text)
    except ValueError as error:
        raise KeysError(f"{path}: {error}") from None


def roster_reader(directory: str | os.PathLike[str]) -> Callable[[], Roster | None]:
    """Return a function that returns the list of keys when it differs from the time before, else None."""
    path = Path(directory) / AUTHORIZED
    known = [_stamp(path), roster_in(directory)]

    def look() -> Roster | None:
        stamp = _stamp(path)
        if stamp == known[0]:
            return None
        roster = roster_in(directory)
        has_changed = roster != known[1]
        known[:] = stamp, roster
        return roster if has_changed else None

    return look


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def client_curve(directory: str | os.PathLike[str], key: str | None = None) -> Curve:
    """Return the keys of a client's connections; raises `KeysError`.

    Args:
        key: Which secret of the directory, such as "observer" or "client-web1"; None = the one
            that is there; of several, the operator's before a client's before an observer's.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise KeysError(f"there is no directory {folder}: colony keygen makes one, on a host")
    path = folder / f"{key}.key" if key is not None else _preferred(folder)
    secret = _secret(path)
    text, _ = _read(folder / HOST_PUBLIC)
    server = text.strip()
    if not is_key(server):
        raise KeysError(f"{folder / HOST_PUBLIC} holds no public key")
    return Curve(public_of(secret).encode("ascii"), secret.encode("ascii"), server.encode("ascii"))


def _preferred(folder: Path) -> Path:
    for role in _PREFERRED:
        plain = folder / f"{role.word}.key"
        if plain.exists():
            return plain
        named = sorted(folder.glob(f"{role.word}-*.key"))
        if len(named) > 1:
            names = ", ".join(path.stem for path in named)
            raise KeysError(f"{folder} holds several keys: say which ({names})")
        if named:
            return named[0]
    raise KeysError(f"{folder} holds no secret key, such as client.key")


def _secret(path: Path) -> str:
    text, mode = _read(path)
    if mode & 0o077:
        raise KeysError(f"others may read {path}: it is no secret; chmod 600 {path}, or make new keys")
    secret = text.strip()
    try:
        public_of(secret)
    except ValueError:
        raise KeysError(f"{path} holds no secret key") from None
    return secret


def _read(path: Path) -> tuple[str, int]:
    """Return a small file's text, and its mode."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise KeysError(f"{path} is no file")
            return file.read(FILE_BYTES_MAX).decode("ascii"), mode
    except OSError as error:
        raise KeysError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeysError(f"{path} holds no keys") from None


def role_of(word: str) -> Role:
    """Return a role by its word; raises `ValueError`."""
    return role_named(word)
