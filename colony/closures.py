"""Closures: functions that travel to the cell, and run there.

A closure is a small tagged struct around two pickles: the function by
value, and (arguments, default, codec). Python's minor version and
cloudpickle's version stand beside them, and are compared before anything is
loaded: code objects are not portable. This is the one place that unpickles
closures; whoever calls it has authenticated the sender.
"""

from __future__ import annotations

import pickle
import sys
import sysconfig
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle
import msgspec

from colony.codecs import PICKLE_PROTOCOL, Codec, codec_named, pickled
from colony.errors import CodecError

CLOSURE_FORMAT = 1
LOADED_MAX = 256  # functions kept loaded; sessions use a handful
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OURS = frozenset({"colony", "agents", "placement"})


class Closure(msgspec.Struct, frozen=True, array_like=True, tag="closure"):
    """What travels.

    Attributes:
        python: Major and minor version of the sender's Python.
        cloudpickle: The sender's version of it.
        function: The pickled function.
        rest: The pickled (arguments, default, codec name).
    """

    format: int
    python: str
    cloudpickle: str
    function: bytes
    rest: bytes


class ClosureError(CodecError):
    """A closure that can't be built, or can't be loaded here."""


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Closure)
_lock = threading.Lock()


class _Recent:
    """The most recently used values by key, at most `LOADED_MAX`; thread-safe."""

    def __init__(self) -> None:
        self._values: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any:
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Any, value: Any) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > LOADED_MAX:
                self._values.popitem(last=False)


_written = _Recent()
_loaded = _Recent()


# -- the sender's side -------------------------------------------------------


def build_closure(fn: Callable[..., Any], args: tuple[Any, ...], default: Any, codec: Codec) -> bytes:
    """Return a closure that `run_closure` can run on any host.

    Raises:
        TypeError: `fn` can't be called.
        ClosureError: Something in it can't be pickled.
    """
    if not callable(fn):
        raise TypeError(f"mutate needs a function, not {type(fn).__name__}")
    try:
        function = _written_function(fn)
        rest = pickled((args, default, codec.name))
    except Exception as error:
        raise ClosureError(f"this closure can't travel: {type(error).__name__}: {error}") from error
    return _encode(Closure(CLOSURE_FORMAT, PYTHON, cloudpickle.__version__, function, rest))


def _written_function(fn: Callable[..., Any]) -> bytes:
    code = _fixed_code(fn)
    if code is None:
        return _pickle_by_value(fn)
    known = _written.get(code)
    if known is None:
        known = _pickle_by_value(fn)
        _written.put(code, known)
    return bytes(known)


def _fixed_code(fn: Callable[..., Any]) -> CodeType | None:
    """Return the code of a function that is nothing but its code, else None.

    With free variables, defaults, globals or attributes, what it does may
    change from call to call, and so must what is sent.
    """
    if type(fn) is not FunctionType:
        return None
    code = fn.__code__
    if fn.__closure__ or fn.__defaults__ or fn.__kwdefaults__ or fn.__dict__:
        return None
    if any(name in fn.__globals__ for name in code.co_names):
        return None
    if any(isinstance(constant, CodeType) for constant in code.co_consts):
        return None  # an inner function has globals of its own
    return code


def _pickle_by_value(fn: Callable[..., Any]) -> bytes:
    with _by_value(getattr(fn, "func", fn)):
        return bytes(cloudpickle.dumps(fn, PICKLE_PROTOCOL))


@contextmanager
def _by_value(fn: Any) -> Iterator[None]:
    """Let the functions of the user's own package travel by value.

    Hosts need not have the user's modules; installed packages go by name.
    """
    module = sys.modules.get((getattr(fn, "__module__", None) or "").partition(".")[0])
    if module is None or not _is_users(module):
        yield
        return
    with _lock:  # cloudpickle's registry is global
        cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            cloudpickle.unregister_pickle_by_value(module)


def _is_users(module: ModuleType) -> bool:
    if module.__name__ == "__main__" or module.__name__ in OURS:
        return False  # cloudpickle sends __main__ by value anyway; ours is on every host
    if (
        module.__name__ in sys.stdlib_module_names
        or module.__name__ in cloudpickle.list_registry_pickle_by_value()
    ):
        return False
    origin = getattr(module, "__file__", None)
    if origin is None:
        return module.__spec__ is None or module.__spec__.submodule_search_locations is not None
    return not any(origin.startswith(sysconfig.get_path(place)) for place in ("purelib", "platlib"))


# -- the host's side ---------------------------------------------------------


def run_closure(dna: bytes | None, closure: bytes) -> bytes:
    """Return the cell's new DNA; any thread, no state but the cache.

    Args:
        dna: The cell's DNA; None = there is no cell.
        closure: What `build_closure` made, from an authenticated sender.

    Raises:
        ClosureError: It was made by another Python or cloudpickle, or is broken.
        CodecError: The cell was written with another codec.
        Exception: Whatever the function raises.
    """
    made = _checked(closure)
    function = _loaded_function(made.function)
    try:
        args, default, name = pickle.loads(made.rest)
        codec = codec_named(name)
    except Exception as error:
        raise ClosureError(f"the arguments can't be loaded: {type(error).__name__}: {error}") from error
    value = default if dna is None else codec.decode(dna)
    return codec.encode(function(value, *args))


def _checked(closure: bytes) -> Closure:
    try:
        made = _decoder.decode(closure)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ClosureError(f"no closure: {error}") from None
    theirs = (made.format, made.python, _series(made.cloudpickle))
    ours = (CLOSURE_FORMAT, PYTHON, _series(cloudpickle.__version__))
    if theirs != ours:
        raise ClosureError(
            f"made by Python {made.python} with cloudpickle {made.cloudpickle}; "
            f"this host has Python {PYTHON} with cloudpickle {cloudpickle.__version__}"
        )
    return made


def _series(version: str) -> list[str]:
    return version.split(".")[:2]  # a patch release reads what another wrote


def _loaded_function(data: bytes) -> Callable[..., Any]:
    function: Callable[..., Any] | None = _loaded.get(data)
    if function is None:
        try:
            function = pickle.loads(data)
        except Exception as error:
            raise ClosureError(f"the function can't be loaded: {type(error).__name__}: {error}") from error
        if not callable(function):
            raise ClosureError("what came is no function")
        _loaded.put(data, function)
    return function


def report_of(error: BaseException) -> tuple[str, bytes | None]:
    """Return a closure's exception as text, and as bytes that may travel.

    The bytes hold the exception alone, without its traceback; None if it
    can't be pickled.
    """
    text = f"{type(error).__name__}: {error}"
    try:
        with _by_value(type(error)):
            return text, cloudpickle.dumps(error, PICKLE_PROTOCOL)
    except Exception:
        return text, None


def error_in(report: bytes | None) -> BaseException | None:
    """Return the exception in a report, or None if it holds none."""
    if report is None:
        return None
    try:
        error = pickle.loads(report)
    except Exception:
        return None
    return error if isinstance(error, BaseException) else None
