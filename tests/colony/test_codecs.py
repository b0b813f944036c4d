"""Codecs: every value comes back, and a foreign cell gives an error."""

from __future__ import annotations

import datetime
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.codecs import CODECS, codec_named, pickled
from colony.errors import CodecError, ColonyError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", ["cloudpickle", "json", "msgpack"])
@given(value=PLAIN)
def test_plain_data_comes_back_equal(name: str, value: Any) -> None:
    codec = codec_named(name)
    assert codec.decode(codec.encode(value)) == value


@given(data=st.binary())
def test_raw_bytes_come_back_equal(data: bytes) -> None:
    codec = codec_named("raw")
    assert codec.decode(codec.encode(data)) == data


@pytest.mark.parametrize("writer", sorted(CODECS))
@pytest.mark.parametrize("reader", sorted(CODECS))
def test_a_foreign_codecs_cell_gives_an_error_never_garbage(writer: str, reader: str) -> None:
    dna = codec_named(writer).encode(b"data" if writer in ("raw", "msgpack") else "data")
    if writer == reader:
        assert codec_named(reader).decode(dna) in (b"data", "data")
        return
    with pytest.raises(CodecError, match=writer):
        codec_named(reader).decode(dna)


@pytest.mark.parametrize("name", sorted(CODECS))
def test_no_bytes_at_all_give_an_error(name: str) -> None:
    with pytest.raises(CodecError):
        codec_named(name).decode(b"")


@pytest.mark.parametrize("name", ["cloudpickle", "json", "msgpack"])
def test_damaged_bytes_give_an_error(name: str) -> None:
    codec = codec_named(name)
    with pytest.raises(CodecError):
        codec.decode(codec.tag + b"\xc1damaged")


def test_cloudpickle_takes_objects_and_functions() -> None:
    codec = codec_named("cloudpickle")
    day = datetime.date(2024, 2, 29)
    assert codec.decode(codec.encode({"day": day})) == {"day": day}
    assert codec.decode(codec.encode(lambda x: x + 1))(1) == 2


def test_classes_of_this_process_alone_travel_by_value() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec("class Cart:\n    items = 3\n", namespace)
    dna = pickled([namespace["Cart"]()])
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer)[0].items)"
    result = subprocess.run([sys.executable, "-c", code], input=dna, capture_output=True, check=True)
    assert result.stdout.strip() == b"3"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("json", {1, 2}),
        ("json", float("nan")),
        ("json", "\ud800"),
        ("msgpack", object()),
        ("cloudpickle", (x for x in "")),
    ],
)
def test_what_a_codec_cannot_write_is_refused(name: str, value: Any) -> None:
    with pytest.raises(CodecError) as caught:
        codec_named(name).encode(value)
    assert {ColonyError, ValueError} <= set(type(caught.value).__mro__)


@pytest.mark.parametrize("value", ["text", 1, None, [1]])
def test_raw_takes_bytes_alone(value: Any) -> None:
    with pytest.raises(TypeError):
        codec_named("raw").encode(value)


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(ValueError, match="there are"):
        codec_named("yaml")
