"""Closures: functions that travel by value, and run where the cell lives."""

from __future__ import annotations

import functools
import io
import operator
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from colony import closures
from colony.closures import Closure, ClosureError, build_closure, error_in, report_of, run_closure
from colony.codecs import JSON, Codec, codec_named
from colony.errors import CodecError

PICKLE = codec_named("cloudpickle")
step = 10


def helper(value: int) -> int:
    return value + step


def by_helper(value: int) -> int:
    return helper(value)


def run(dna: bytes | None, fn: Any, *args: Any, default: Any = None, codec: Codec = PICKLE) -> Any:
    return codec.decode(run_closure(dna, build_closure(fn, args, default, codec)))


def test_a_function_of_the_value_gives_the_new_value() -> None:
    assert run(PICKLE.encode(1), lambda value, more: value + more, 2) == 3


def test_an_absent_cell_starts_from_the_default() -> None:
    assert run(None, lambda value: [*value, 1], default=[0]) == [0, 1]


def test_a_default_is_fresh_each_time() -> None:
    closure = build_closure(lambda value: value.append(1) or value, (), [], PICKLE)
    assert run_closure(None, closure) == run_closure(None, closure) == PICKLE.encode([1])


def test_the_stores_codec_reads_and_writes() -> None:
    assert run(JSON.encode({"n": 1}), lambda value: {"n": value["n"] + 1}, codec=JSON) == {"n": 2}


def test_a_users_module_need_not_be_on_the_host() -> None:
    closure = build_closure(by_helper, (), 5, PICKLE)
    code = (
        "import sys; from colony.closures import run_closure; "
        "sys.stdout.buffer.write(run_closure(None, sys.stdin.buffer.read()))"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], input=closure, capture_output=True, check=True, cwd=root
    )
    assert PICKLE.decode(result.stdout) == 15


def test_nothing_of_ours_travels_by_reference() -> None:
    made = msgspec.msgpack.decode(build_closure(by_helper, (), 5, PICKLE), type=Closure)
    named: list[str] = []

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            named.append(module.partition(".")[0])
            return super().find_class(module, name)

    for data in (made.function, made.rest):
        Reader(io.BytesIO(data)).load()
    assert named and not {"colony", "agents", "placement", "tests"} & set(named)


def test_partials_and_builtins_travel() -> None:
    assert run(PICKLE.encode(2), functools.partial(pow, 3)) == 9
    assert run(PICKLE.encode(2), operator.mul, 5) == 10


def test_a_captured_variable_is_sent_as_it_is_now() -> None:
    results = []
    for more in (1, 2):
        results.append(run(PICKLE.encode(0), lambda value: value + more))  # noqa: B023
    assert results == [1, 2]


def test_a_changed_global_is_sent_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(None, by_helper, default=0) == 10
    monkeypatch.setitem(globals(), "step", 20)
    assert run(None, by_helper, default=0) == 20


def test_the_same_code_is_pickled_once() -> None:
    def made() -> Any:
        return lambda value: value

    assert closures._written_function(made()) is closures._written_function(made())


def test_another_python_is_refused_before_anything_is_loaded() -> None:
    made = msgspec.msgpack.decode(build_closure(by_helper, (), 5, PICKLE), type=Closure)
    foreign = msgspec.structs.replace(made, python="3.8", function=b"not to be loaded")
    with pytest.raises(ClosureError, match=r"made by Python 3\.8"):
        run_closure(None, msgspec.msgpack.encode(foreign))
    foreign = msgspec.structs.replace(made, cloudpickle="1.0.0", function=b"not to be loaded")
    with pytest.raises(ClosureError, match=r"cloudpickle 1\.0\.0"):
        run_closure(None, msgspec.msgpack.encode(foreign))


@pytest.mark.parametrize("junk", [b"", b"junk", msgspec.msgpack.encode(["closure", 1])])
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(ClosureError):
        run_closure(None, junk)


def test_a_cell_of_another_codec_is_refused() -> None:
    with pytest.raises(CodecError, match="json"):
        run(JSON.encode(1), by_helper)


def test_few_functions_stay_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closures, "LOADED_MAX", 2)
    recent = closures._Recent()
    for key in "abac":
        recent.get(key)
        recent.put(key, key)
    assert [recent.get(key) for key in "abc"] == ["a", None, "c"]


def test_what_the_function_raised_comes_back_to_its_caller() -> None:
    with pytest.raises(KeyError) as caught:
        run(PICKLE.encode({}), operator.itemgetter("missing"))
    text, report = report_of(caught.value)
    assert text == "KeyError: 'missing'"
    assert isinstance(error_in(report), KeyError)


def test_an_exception_that_cannot_travel_comes_back_as_text() -> None:
    class Odd(Exception):
        def __reduce__(self) -> Any:
            raise RuntimeError("no")

    assert report_of(Odd("why")) == ("Odd: why", None)
    assert error_in(None) is error_in(b"junk") is None


@pytest.mark.parametrize("fn", [None, 1, "name"])
def test_what_cannot_be_called_is_refused(fn: Any) -> None:
    with pytest.raises(TypeError):
        build_closure(fn, (), None, PICKLE)


def test_what_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(ClosureError):
        build_closure(by_helper, ((x for x in ""),), None, PICKLE)
