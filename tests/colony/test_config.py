"""Options come from the flag, the environment, the file, or the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from colony.config import (
    Option,
    UsageError,
    address,
    addresses,
    check_file,
    one_of,
    read_file,
    resolve,
    seconds,
    size,
    text,
    whole,
    yes_or_no,
)

PEERS = Option("peers", whole(1, 16), 2, "copies", "N")
STATE_DIR = Option("state-dir", text, None, "where", "DIR")
JOIN = Option("join", addresses, [], "whom", "ADDR")
WITNESS = Option("witness", yes_or_no, False, "votes only")
ALL = (PEERS, STATE_DIR, JOIN, WITNESS)


def test_the_default_holds_where_no_source_says_anything() -> None:
    assert resolve("host", ALL, {}, {}, {}) == {"peers": 2, "state_dir": None, "join": [], "witness": False}


def test_flag_beats_environment_beats_file_beats_default() -> None:
    file, environ, flags = {"peers": 3}, {"COLONY_PEERS": "4"}, {"peers": 5}
    assert resolve("host", [PEERS], {}, {}, file)["peers"] == 3
    assert resolve("host", [PEERS], {}, environ, file)["peers"] == 4
    assert resolve("host", [PEERS], flags, environ, file)["peers"] == 5


def test_within_one_source_the_commands_own_key_wins() -> None:
    file = {"peers": 3, "host": {"peers": 4}}
    assert resolve("host", [PEERS], {}, {}, file)["peers"] == 4
    assert resolve("up", [PEERS], {}, {}, file)["peers"] == 3
    environ = {"COLONY_PEERS": "5", "COLONY_HOST_PEERS": "6"}
    assert resolve("host", [PEERS], {}, environ, file)["peers"] == 6
    assert resolve("up", [PEERS], {}, environ, file)["peers"] == 5


def test_dashes_become_underscores_in_keys_and_variables() -> None:
    assert STATE_DIR.key == "state_dir"
    assert STATE_DIR.variables("safe-to-kill") == ("COLONY_SAFE_TO_KILL_STATE_DIR", "COLONY_STATE_DIR")


def test_a_files_lists_and_truths_are_values_too() -> None:
    file = {"join": ["tcp://10.0.0.1:1", "tcp://10.0.0.2:2"], "witness": True}
    values = resolve("host", ALL, {}, {}, file)
    assert values["join"] == ["tcp://10.0.0.1:1", "tcp://10.0.0.2:2"] and values["witness"] is True


@pytest.mark.parametrize(
    ("environ", "file", "named"),
    [({"COLONY_PEERS": "many"}, {}, "COLONY_PEERS"), ({}, {"host": {"peers": 99}}, r"\[host\] peers")],
)
def test_a_wrong_value_names_its_source(environ: dict[str, str], file: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        resolve("host", [PEERS], {}, environ, file)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ({"pears": 3}, "did you mean 'peers'"),
        ({"hosst": {"peers": 3}}, r"no command has the table \[hosst\]; did you mean 'host'"),
        ({"host": {"pears": 3}}, r"\[host\] has no key 'pears'; did you mean 'peers'"),
    ],
)
def test_a_key_that_nobody_has_is_refused(file: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_file(file, {"host": ALL})


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"can't read .*none\.toml"):
        read_file(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("peers = = 3")
    with pytest.raises(UsageError, match=r"broken\.toml is not TOML"):
        read_file(str(broken))


@pytest.mark.parametrize(
    ("given", "count"),
    [("1048576", 1 << 20), ("512M", 512 << 20), ("2GiB", 2 << 30), ("1.5k", 1536), ("7b", 7)],
)
def test_sizes(given: str, count: int) -> None:
    assert size(given) == count


@pytest.mark.parametrize("given", ["", "-5", "5X", "GiB", "1 2"])
def test_what_is_no_size(given: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        size(given)


def test_addresses_are_checked() -> None:
    assert address("tcp://[::1]:7420") == "tcp://[::1]:7420"
    assert addresses("tcp://a:1, tcp://b:2") == ["tcp://a:1", "tcp://b:2"]
    for wrong in ("127.0.0.1:7420", "tcp://127.0.0.1", "tcp://h:99999", "udp://h:1", "tcp://h:1/x", ""):
        with pytest.raises(ValueError, match="not an address"):
            address(wrong)


def test_other_values() -> None:
    assert seconds("1.5") == seconds("1.5s") == 1.5
    assert yes_or_no("On") is True and yes_or_no("0") is False
    assert one_of(("debug", "info"))("INFO") == "info"
    wrong = ((seconds, "0"), (seconds, "soon"), (seconds, "nan"), (yes_or_no, "perhaps"), (whole(1, 9), "10"))
    for parse, value in wrong:
        with pytest.raises(ValueError):
            parse(value)
