"""The sink's files that grow, and its folder names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ResourceError
from stages.sink.lines import LineFile, append_npy, cut_npy
from stages.sink.outdir import folder_name, prepare_out_dir, write_failed

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@needs_dev_full
def test_exception_line_file_on_a_full_disk() -> None:
    file = LineFile(Path("/dev/full"))
    with pytest.raises(ResourceError, match="cannot write /dev/full"):
        file.write("a line\n")
    file._file.close()


def test_exception_half_a_line_is_cut_off(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "events.jsonl")
    file.write("whole\n")
    raw = file._file

    class HalfFull:
        closed = False

        def __init__(self) -> None:
            self.left = 3

        def write(self, data: memoryview) -> int:
            if not self.left:
                raise OSError(28, "No space left on device")
            count = raw.write(data[: self.left])
            self.left = 0
            return count

        def __getattr__(self, name: str) -> object:
            return getattr(raw, name)

    file._file = HalfFull()  # type: ignore[assignment]
    with pytest.raises(ResourceError):
        file.write("a second line\n")
    file._file = raw
    file.write("third\n")
    file.close()
    file.close()
    assert (tmp_path / "events.jsonl").read_text() == "whole\nthird\n"


def test_smoke_lines_are_there_at_once(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "events.jsonl")
    file.write("ö\n")
    assert (tmp_path / "events.jsonl").read_text("utf-8") == "ö\n"
    file.close()


@pytest.mark.parametrize("shape", [(85,), (17, 3)])
def test_shape_npy_is_whole_after_every_row(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "rows.npy"
    rows = np.random.default_rng(0).normal(size=(12, *shape)).astype(np.float32)
    for count, row in enumerate(rows, 1):
        append_npy(path, row)
        assert np.array_equal(np.load(path, allow_pickle=False), rows[:count])


def test_exception_npy_forgets_half_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    append_npy(path, np.ones(4, np.float32))
    with path.open("ab") as file:
        file.write(b"abc")  # a crash in mid-row
    append_npy(path, np.full(4, 2, np.float32))
    assert np.array_equal(np.load(path), [[1] * 4, [2] * 4])


@given(st.text(max_size=256))
def test_property_folder_names_stay_inside(source_id: str) -> None:
    name = folder_name(source_id)
    assert name and os.sep not in name and not name.startswith(".") and len(name) <= 120
    assert name.isascii() and name.isprintable()


def test_exception_write_failed_without_a_number(tmp_path: Path) -> None:
    failure = write_failed(tmp_path / "not" / "there", ValueError(""))
    assert "ValueError" in failure.message and "bytes are free" in failure.message


def test_smoke_prepare_makes_the_folder(tmp_path: Path) -> None:
    prepare_out_dir(tmp_path / "a" / "b", overwrite=False)
    prepare_out_dir(tmp_path / "a" / "b", overwrite=False)
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("rows", [0, 2, 3])
@pytest.mark.parametrize("torn", ["row without its count", "half a row", "whole"])
def test_rows_are_taken_back_wherever_a_writer_died(tmp_path: Path, rows: int, torn: str) -> None:
    path = tmp_path / "a.npy"
    written = np.arange(12, dtype=np.float32).reshape(4, 3)
    for row in written[:3]:
        append_npy(path, row)
    if torn == "row without its count":
        path.write_bytes(path.read_bytes() + written[3].tobytes())
    elif torn == "half a row":
        path.write_bytes(path.read_bytes() + written[3].tobytes()[:5])
    cut_npy(path, rows, (3,))
    for row in written[rows:]:
        append_npy(path, row)
    assert np.array_equal(np.load(path), written)


def test_an_empty_file_of_rows_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.touch()
    cut_npy(path, 0, (3,))
    append_npy(path, np.ones(3, np.float32))
    assert np.load(path).shape == (1, 3)
