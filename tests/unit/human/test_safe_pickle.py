"""The pickle reader: arrays come through, programs do not."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from stages.human import safe_pickle


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f8", ">f4", "?"])
@pytest.mark.parametrize("shape", [(), (0, 85), (3, 4), (2, 3, 4)])
def test_parity_arrays_come_through(protocol: int, dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.random.default_rng(1).random(shape) * 9).astype(dtype)
    array = np.asarray(array)
    for value in (array, np.asfortranarray(array)):
        back = safe_pickle.loads(pickle.dumps(value, protocol))
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


def test_parity_lists_and_dicts_of_arrays() -> None:
    arrays = [np.ones(3), np.zeros((2, 2), np.uint8)]
    for back, array in zip(safe_pickle.loads(pickle.dumps(arrays)), arrays, strict=True):
        np.testing.assert_array_equal(back, array)
    back = safe_pickle.loads(pickle.dumps({"a": arrays[0], "n": 3}))
    assert back["n"] == 3 and (back["a"] == 1).all()


class Evil:
    def __init__(self, call: Any, *args: Any) -> None:
        self.call = call, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrapped", [False, True])
def test_exception_malicious_pickles_run_nothing(
    tmp_path: Path, protocol: int, wrapped: bool
) -> None:
    mark = tmp_path / "ran"
    for call in (
        Evil(os.mkdir, str(mark)),
        Evil(eval, f"__import__('os').mkdir({str(mark)!r})"),
        Evil(np.load, str(mark)),
        Evil(bytes, 1 << 40),
    ):
        value = [np.ones(2), call] if wrapped else call
        with pytest.raises(InputError, match="not a pickle of plain arrays"):
            safe_pickle.loads(pickle.dumps(value, protocol))
        assert not mark.exists()


@pytest.mark.parametrize(
    "value", [np.array([{}], object), np.array(["text"]), np.zeros(2, [("a", "f4")]), {1: [2]}, {1}]
)
def test_exception_other_values(value: Any) -> None:
    with pytest.raises(InputError):
        safe_pickle.loads(pickle.dumps(value))


def test_exception_crafted_opcodes() -> None:
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n"
    huge = b"(I0\n(I1000000\nI1000000\nI1000000\nt"
    cases = [
        b"",
        b"garbage",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 62),  # a bytearray of 4 EiB
        b"\x80\x02N" + b"r" + struct.pack("<I", 0xFFFFFFFF) + b".",  # the largest memo index
        b"\x82\x01.",  # an extension code
        b"Pid\n.",  # a persistent id
        reconstruct + b"(cnumpy\nndarray\n(I999999999\ntS'b'\ntR.",  # never filled
        reconstruct + b"(tR" + huge + b"cnumpy\ndtype\n(S'f8'\ntRI00\nS''\ntb.",
        b"cnumpy\ndtype\n}S'x'\nI1\nsb.",  # writes an attribute into our own class
        b"c_codecs\nencode\n(N}S'__defaults__'\n(S'zip'\ntstb.",  # and into a function
        b"c_codecs\nencode\n(S'a'\nS'zip'\ntR.",
        b"cnumpy\ndtype\n(S'O8'\ntR.",
        b"cnumpy\ndtype\n(S'(9,9,9)999f8,f8'\ntR.",
        b"(lp0\ng0\na.",  # a list in itself
    ]
    for data in cases:
        with np.errstate(all="raise"):
            if data == cases[3]:
                assert safe_pickle.loads(data) is None
                continue
            with pytest.raises(InputError):
                safe_pickle.loads(data)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_property_damage_gives_an_error_or_an_array(data: st.DataObject) -> None:
    protocol = data.draw(st.integers(0, 5))
    raw = bytearray(pickle.dumps(np.arange(12, dtype=np.uint8).reshape(3, 4), protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    with contextlib.suppress(InputError):
        safe_pickle.loads(bytes(raw))


def test_exception_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        safe_pickle.load(tmp_path / "none.pkl")
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(np.zeros(1000)))
    with pytest.raises(InputError, match="larger than 100"):
        safe_pickle.load(path, max_bytes=100)
    assert safe_pickle.load(path).shape == (1000,)
