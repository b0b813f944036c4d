"""Golden conversations: hosts still say what the files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.conversation import FOLDER, Conversation, played, steps_of

FILES = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_hosts_say_what_the_file_says(path: Path) -> None:
    text = path.read_text()
    assert played(text) == text, "if that is meant: python -m tests.sim.conversation, and read the difference"


def test_a_word_more_is_noticed() -> None:
    text = FOLDER.joinpath("mutation.txt").read_text()
    lines = text.splitlines()
    silent = next(line for line in lines if " Ack " in line)
    assert played(text) != text.replace(silent, silent.replace("seq=1", "seq=2"), 1)


def test_a_file_begins_with_its_hosts() -> None:
    with pytest.raises(ValueError, match="begin with"):
        Conversation().do("run 1")
    assert steps_of("# why\n\nhosts AB\n----\nA: said\n") == ("# why", [("hosts AB", ["A: said"])])
