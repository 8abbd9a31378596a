"""Reading pickles of arrays without running anything that they say.

A pickle is a program: `pickle.load` of a stranger's file runs the stranger's code. Gait data sets
come as pickles all the same. This reader admits the handful of names by which numpy writes an
array, and answers each with a stand-in of our own: no class, no function, not even numpy's own, is
called at the file's wish. The stand-ins only note dtype, shape and bytes; arrays are made from them
afterwards, with lengths checked. Everything else is refused by name.
"""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np

from pipeline.errors import InputError

MAX_BYTES = 1 << 30
MAX_ITEMS = 100_000  # entries of a list or dict of arrays
KINDS = frozenset("biuf")  # bool, integers, floats; never objects

PLAIN = (bool, int, float, str, bytes, type(None))


class _Dtype:
    """Stands in for `numpy.dtype(code, align, copy)`."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.dtype = np.dtype("u1")
        self._set(code)

    def _set(self, code: Any) -> None:
        code = code.decode("ascii", "replace") if isinstance(code, bytes) else code
        if not isinstance(code, str) or len(code) > 4:
            raise pickle.UnpicklingError(f"a dtype must be a short name, not {code!r}")
        try:
            dtype = np.dtype(code)
        except (TypeError, ValueError) as error:
            raise pickle.UnpicklingError(f"no such dtype: {code!r}") from error
        if dtype.kind not in KINDS:
            raise pickle.UnpicklingError(f"arrays of {dtype} are not admitted, only numbers")
        self.dtype = dtype

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, ...): the rest describes fields, which numbers do not have.
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        order = order.decode("ascii", "replace") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("malformed dtype")
        self.dtype = self.dtype.newbyteorder(cast(Literal["<", ">", "|", "="], order))


class _Array:
    """Stands in for an array that is filled by `__setstate__`."""

    def __init__(self, *_: Any) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise pickle.UnpicklingError("malformed array")
        _, shape, dtype, fortran, raw = state
        self.array = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if isinstance(raw, str):  # a Python 2 pickle
        raw = raw.encode("latin1")
    if not (isinstance(raw, (bytes, bytearray)) and isinstance(dtype, _Dtype)):
        raise pickle.UnpicklingError("malformed array")
    fits = isinstance(shape, tuple) and len(shape) <= 8
    count = 1
    for side in shape if fits else ():
        fits = fits and isinstance(side, int) and side >= 0
        count *= side if fits else 0
    if not fits or count * dtype.dtype.itemsize != len(raw):
        raise pickle.UnpicklingError(f"an array of {shape} does not fit its {len(raw)} bytes")
    flat = np.frombuffer(raw, dtype.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    filled = _Array()
    filled.array = _array(raw, dtype, shape, order)
    return filled


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    """Stands in for `_codecs.encode`, by which old protocols write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("only latin1 text may be encoded")
    return text.encode("latin1")


def _name_of_ndarray(*_: Any) -> Any:
    raise pickle.UnpicklingError("an array may not be made directly")


def _empty_bytes(*arguments: Any) -> bytes:
    """Stands in for `bytes()`, by which old protocols write none."""
    if arguments:
        raise pickle.UnpicklingError("bytes may only be made empty")
    return b""


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _name_of_ndarray,  # only ever an argument of _reconstruct
    ("_codecs", "encode"): _latin1,
    ("builtins", "bytes"): _empty_bytes,
    ("__builtin__", "bytes"): _empty_bytes,
}
for _module in ("numpy.core", "numpy._core"):
    _ADMITTED[_module + ".multiarray", "_reconstruct"] = _Array
    _ADMITTED[_module + ".numeric", "_frombuffer"] = _from_buffer


# The pure Python reader: the one in C gives an index in the file as many bytes as it asks for.
class _Reader(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = {
        code: action
        for code, action in pickle._Unpickler.dispatch.items()
        if code not in (pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0], pickle.PERSID[0])
    }

    stack: list[Any]

    def load_build(self) -> None:
        """Fill a stand-in; the inherited form would also write into functions."""
        state = self.stack.pop()
        stand_in = self.stack[-1]
        if not isinstance(stand_in, (_Array, _Dtype)):
            raise pickle.UnpicklingError(f"it fills a {type(stand_in).__name__}")
        stand_in.__setstate__(state)

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def loads(data: bytes) -> Any:
    """Return what a pickle of arrays holds: one array, or a flat list, tuple or dict of them.

    Arrays are read-only, of bool, integer or float dtype. Beside arrays a list or dict may hold
    plain numbers and text.

    Raises:
        InputError: for anything else, and for a damaged pickle. Nothing in it has been run.
    """
    try:
        value = _Reader(io.BytesIO(data), encoding="latin1").load()
        return _unwrap(value)
    except (
        pickle.UnpicklingError,
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        MemoryError,
        NotImplementedError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
        AssertionError,
        struct.error,
    ) as error:
        raise InputError(
            f"not a pickle of plain arrays: {error or type(error).__name__}",
            hint="Nothing in it was run. Only numpy arrays of numbers are read from pickles; "
            "save the data with numpy.save instead.",
        ) from error


def load(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Read a pickle of arrays from a file; see `loads`.

    Raises:
        InputError: also if the file cannot be read or is larger than `max_bytes`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > max_bytes:
        raise InputError(f"{path} is larger than {max_bytes} bytes")
    try:
        return loads(data)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error


def _unwrap(value: Any) -> Any:
    """Turn stand-ins into arrays, one level deep: deeper nesting could grow without bound."""
    if isinstance(value, (list, tuple, dict)):
        if len(value) > MAX_ITEMS:
            raise pickle.UnpicklingError(f"more than {MAX_ITEMS} entries")
        if isinstance(value, dict):
            return {_leaf(key): _leaf(item) for key, item in value.items()}
        return [_leaf(item) for item in value]
    return _leaf(value)


def _leaf(value: Any) -> Any:
    if isinstance(value, _Array) and value.array is not None:
        return value.array
    if isinstance(value, PLAIN):
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")
