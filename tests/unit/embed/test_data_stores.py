"""Stored sequences: the public layout, partitions, the packed format, interrupted packing."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cli import main
from pipeline.errors import InputError
from stages.embed.data.folders import FolderStore
from stages.embed.data.opening import open_store
from stages.embed.data.packed import FOOTER, PackedStore
from stages.embed.data.packing import pack
from stages.embed.data.partition import labels_of, load_partition, split_subjects
from tests.walkers import write_dataset

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("walk"), subjects=4, kinds=("nm-01", "cl-01"))


@pytest.fixture
def copied(data: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(data, tmp_path / "walk"))


def packed_of(root: Path, path: Path) -> PackedStore:
    store = FolderStore(root)
    pack(store, range(len(store.entries)), path)
    return PackedStore(path)


def test_property_headers_are_read_one_at_a_time(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several at once are a SystemError now and then.
    inside, most, load = 0, 0, np.load

    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.002)  # long enough for the other threads to come
        try:
            return load(*args, **kwargs)
        finally:
            inside -= 1

    monkeypatch.setattr(np, "load", watched)
    assert len(FolderStore(data).entries) == 16
    assert most == 1


def test_smoke_folders(data: Path) -> None:
    store = FolderStore(data)
    assert [entry.name for entry in store.entries[:3]] == [
        "001/cl-01/000",
        "001/cl-01/090",
        "001/nm-01/000",
    ]
    assert len(store.entries) == 16 and store.height == 64 and not store.skipped
    assert store.has == {"silhouettes", "theta", "keypoints"}
    clip = store.read(0)
    assert clip.silhouettes.shape == (40, 64, 44) and clip.silhouettes.dtype == np.uint8
    assert clip.theta.shape == (40, 85) and clip.keypoints_px.shape == (40, 17, 3)
    some = store.read(0, np.array([7, 3, 7]), frozenset({"theta"}))
    assert np.array_equal(some.theta, clip.theta[[7, 3, 7]])
    assert some.silhouettes.shape == (0, 64, 44) and some.keypoints_px.shape == (0, 17, 3)
    assert {e.subject for e in FolderStore(data, subjects={"002", "004"}).entries} == {"002", "004"}


def test_smoke_gait3d_names_its_files_otherwise(tmp_path: Path) -> None:
    folder = tmp_path / "0000" / "camid0_videoid2" / "seq0"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    silhouettes = rng.integers(0, 256, (5, 64, 64), np.uint8)
    rows = rng.normal(size=(5, 85))
    (folder / "sils-seq0.pkl").write_bytes(pickle.dumps(silhouettes))
    (folder / "smpls-seq0.pkl").write_bytes(pickle.dumps(rows))
    store = FolderStore(tmp_path)
    assert store.entries[0].kind == "camid0_videoid2" and store.has == {"silhouettes", "theta"}
    np.testing.assert_allclose(store.read(0).theta, rows, rtol=1e-6)


class Harm:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmed",)


def test_exception_broken_sequences_are_named_counted_and_left_out(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nm = copied / "001" / "nm-01"
    (nm / "000" / "000.pkl").write_bytes(pickle.dumps(Harm()))
    whole = (nm / "090" / "090.pkl").read_bytes()
    (nm / "090" / "090.pkl").write_bytes(whole[: len(whole) // 2])
    cl = copied / "001" / "cl-01"
    np.save(cl / "000" / "smpls.npy", np.zeros((39, 85), np.float32))
    rows = np.load(cl / "090" / "keypoints.npy")
    rows[3, 2, 0] = np.nan
    np.save(cl / "090" / "keypoints.npy", rows)
    small = np.zeros((4, 50, 50), np.uint8)
    (copied / "002" / "nm-01" / "000" / "000.pkl").write_bytes(pickle.dumps(small))
    black = np.zeros((4, 64, 64), np.uint8)
    (copied / "002" / "nm-01" / "090" / "090.pkl").write_bytes(pickle.dumps(black))
    (copied / "002" / "stray").mkdir()
    reasons = {
        "001/nm-01/000": "posix.system",
        "001/nm-01/090": "",
        "001/cl-01/000": "smpls.npy: expected numbers of shape",
        "001/cl-01/090": "keypoints.npy: some numbers are not finite",
        "002/nm-01/000": r"expected uint8[T, 64, 64]",
        "002/nm-01/090": "every silhouette is empty",
        "002/stray": "lies at depth 2",
    }
    store = FolderStore(copied)
    found = {skipped.name: skipped.reason for skipped in store.skipped}
    assert found.keys() == reasons.keys() and len(store.entries) == 10
    assert all(reason in found[name] for name, reason in reasons.items()), found
    out = copied.parent / "o.gaitpack"
    assert main(["pack", "--data", str(copied), "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert all(f"skipped {name}: " in said for name in reasons) and "7 sequences skipped" in said
    assert len(PackedStore(out).entries) == 10
    assert not (ROOT / "harmed").exists() and not Path("harmed").exists()


def test_exception_a_sequence_that_changed(copied: Path) -> None:
    store = FolderStore(copied)
    path = copied / "001" / "cl-01" / "000" / "000.pkl"
    for name in ("smpls.npy", "keypoints.npy"):
        (path.parent / name).unlink()
    path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes())[:10]))
    with pytest.raises(InputError, match="001/cl-01/000: 10 frames, there were 40"):
        store.read(0)
    (copied / "001" / "cl-01" / "090" / "smpls.npy").unlink()
    with pytest.raises(InputError, match="001/cl-01/090: its theta were there"):
        store.read(1)
    shutil.rmtree(copied / "001" / "nm-01" / "000")
    result = pack(store, range(len(store.entries)), copied.parent / "p")
    assert [skipped.name for skipped in result.skipped] == [e.name for e in store.entries[:3]]


def test_exception_rows_that_some_sequences_lack_are_named(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (copied / "003" / "nm-01" / "000" / "smpls.npy").unlink()
    assert FolderStore(copied).has == {"silhouettes", "keypoints"}
    assert "theta cannot be used: 1 of 16 sequences have none: 003/nm-01/000" in caplog.text


def test_exception_a_name_that_is_no_text(copied: Path) -> None:
    (copied / "004").rename(copied / os.fsdecode(b"\xff4"))
    store = FolderStore(copied)
    assert len(store.entries) == 12 and len(store.skipped) == 4
    assert store.skipped[0].name.startswith("\\udcff4/")


def test_exception_two_packers_on_one_file(data: Path, tmp_path: Path) -> None:
    store = FolderStore(data)

    def meanwhile(done: int, of: int) -> None:
        with pytest.raises(InputError, match="another process is packing"):
            pack(store, range(2), tmp_path / "p")

    pack(store, range(2), tmp_path / "p", meanwhile)
    assert len(PackedStore(tmp_path / "p").entries) == 2


@pytest.mark.parametrize(("made", "message"), [(False, "is not a folder"), (True, "no sequence")])
def test_exception_nothing_there(tmp_path: Path, made: bool, message: str) -> None:
    if made:
        (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match=message):
        FolderStore(tmp_path / "data")
    with pytest.raises(InputError):
        open_store(tmp_path / "data")


def test_exception_a_folder_of_another_depth(data: Path) -> None:
    with pytest.raises(InputError, match=r"none of \d+ folders .*\n  .*lies at depth 2, expected"):
        FolderStore(next(data.iterdir()))


def test_smoke_partition(data: Path) -> None:
    store = FolderStore(data)
    partition = load_partition(data / "partition.json", store)
    assert partition.train == ("001", "002") and partition.test == ("003", "004")
    assert labels_of(store, partition.test) == {i: int(i >= 12) for i in range(8, 16)}
    drawn = split_subjects(store, 0.25, 3)
    assert len(drawn.test) == 1 and set(drawn.train) | set(drawn.test) == {
        *partition.train,
        *partition.test,
    }
    assert split_subjects(store, 0.25, 3) == drawn


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no JSON"),
        ("[1]", "neither TRAIN_SET nor TEST_SET"),
        ('{"TEST_SET": "003"}', "TEST_SET must be a list"),
        ('{"TRAIN_SET": ["001"], "TEST_SET": ["001", "002"]}', "both for training and for testing"),
        ('{"TRAIN_SET": ["901"], "TEST_SET": ["001"]}', "nobody of its TRAIN_SET .901"),
    ],
)
def test_exception_partition(data: Path, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_partition(path, FolderStore(data))


def test_smoke_partition_of_data_that_hold_one_set(data: Path) -> None:
    testing = FolderStore(data, subjects={"003", "004"})
    assert load_partition(data / "partition.json", testing, ("TEST_SET",)).train == ()
    with pytest.raises(InputError, match="nobody of its TRAIN_SET"):
        load_partition(data / "partition.json", testing)


def test_smoke_partition_names_who_is_missing(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"TRAIN_SET": ["001", "900"], "TEST_SET": ["002"]}))
    assert load_partition(path, FolderStore(data)).missing == ("900",)


def test_parity_packed_and_folders(data: Path, tmp_path: Path) -> None:
    folders, packed = FolderStore(data), packed_of(data, tmp_path / "d.gaitpack")
    assert packed.entries == folders.entries and packed.has == folders.has
    frames = np.array([39, 0, 5, 5])
    for index in range(len(folders.entries)):
        for chosen in (None, frames):
            one, other = folders.read(index, chosen), packed.read(index, chosen)
            assert np.array_equal(one.silhouettes, other.silhouettes)
            assert np.array_equal(one.theta, other.theta)
            assert np.array_equal(one.keypoints_px, other.keypoints_px)
    assert packed.verify() == []
    assert {e.subject for e in PackedStore(tmp_path / "d.gaitpack", {"003"}).entries} == {"003"}


def test_smoke_packed_128_high_without_rows(tmp_path: Path) -> None:
    options = {"subjects": 1, "kinds": ("nm-01",), "height": 128}
    root = write_dataset(tmp_path / "d", with_theta=False, with_keypoints=False, **options)  # type: ignore[arg-type]
    packed = packed_of(root, tmp_path / "p")
    assert packed.height == 128 and packed.has == {"silhouettes"}
    assert packed.read(0).silhouettes.shape == (40, 128, 88)
    assert FolderStore(root, height=64).read(0).silhouettes.shape == (40, 64, 44)


def test_exception_packed_files(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "p"
    packed_of(data, path)
    whole = path.read_bytes()

    def refused(content: bytes, message: str) -> None:
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            PackedStore(path)

    refused(b"", "is no packed data")
    refused(b"x" * 100, "is no packed data")
    refused(whole[:8] + b"\x02" + whole[9:], "have version 2, this program reads 1")
    refused(whole[:12] + b"\x41" + whole[13:], "silhouettes of")
    refused(whole[:50], "cut off")
    refused(whole[:-5], "cut off, or was never finished")
    refused(whole[: -FOOTER.size - 3] + b"???" + whole[-FOOTER.size :], "checksum")
    with pytest.raises(InputError, match="no such folder or file"):
        open_store(tmp_path / "none")
    path.write_bytes(whole)
    with pytest.raises(InputError, match="hold no sequence of the wanted subjects"):
        PackedStore(path, {"900"})


def test_exception_damaged_content_is_found(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p"
    packed_of(data, path)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert PackedStore(path).verify() == ["001/cl-01/000"]
    assert main(["pack", "--verify", "--out", str(path)]) == 1
    assert "damaged: 001/cl-01/000" in capsys.readouterr().err


def test_smoke_pack_command_splits(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "train.gaitpack"
    partition = ("--partition", str(data / "partition.json"), "--split", "train")
    assert main(["pack", "--data", str(data), "--out", str(out), *partition]) == 0
    assert {entry.subject for entry in PackedStore(out).entries} == {"001", "002"}
    assert main(["pack", "--data", str(data), "--out", str(out), *partition]) == 2
    assert main(["pack", "--data", str(data), "--out", str(out), "--overwrite"]) == 0
    assert main(["pack", "--data", str(data), "--out", str(out), "--split", "test"]) == 2
    assert main(["pack", "--out", str(out)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.gaitpack"]


SLOW_PACK = """
import sys, time
from pathlib import Path
from stages.embed.data import packed_writer, packing
from stages.embed.data.folders import FolderStore
packed_writer.SYNC_EVERY_S = 0.0
store = FolderStore(Path(sys.argv[1]))
def slowly(done, of):
    print(done, flush=True)
    if done >= 6:
        time.sleep(60)
packing.pack(store, range(len(store.entries)), Path(sys.argv[2]), slowly)
"""


@pytest.mark.parametrize("torn", [0, 1000])
def test_replay_killed_packing_goes_on_and_ends_equal(
    data: Path, tmp_path: Path, torn: int
) -> None:
    packed_of(data, tmp_path / "whole")
    path = tmp_path / "d.gaitpack"
    command = [sys.executable, "-c", SLOW_PACK, str(data), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        deadline = time.monotonic() + 60
        while process.stdout.readline().strip() != "6":
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    partial = tmp_path / "d.gaitpack.partial"
    with partial.open("ab") as file:  # a block that was being written
        file.write(b"\7" * torn)
    store = FolderStore(data)
    result = pack(store, range(len(store.entries)), path)
    assert result.resumed == 6 and result.sequences == 16
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.gaitpack", "whole"]


def test_property_data_that_changed_meanwhile_are_packed_anew(copied: Path, tmp_path: Path) -> None:
    path = tmp_path / "d"

    def stop(done: int, of: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    store = FolderStore(copied)
    with pytest.raises(KeyboardInterrupt):
        pack(store, range(16), path, stop)
    keypoints = copied / "001" / "cl-01" / "000" / "keypoints.npy"
    np.save(keypoints, np.load(keypoints) + 1)
    changed = FolderStore(copied)
    assert pack(changed, range(16), path).resumed == 0
    assert np.array_equal(PackedStore(path).read(0).keypoints_px, changed.read(0).keypoints_px)


def test_property_a_leftover_of_another_job_is_not_gone_on_with(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "d"
    store = FolderStore(data)
    (tmp_path / "d.partial").write_bytes(b"old" * 1000)
    (tmp_path / "d.partial.jsonl").write_bytes(b'{"type":"begin","source":"another"}\n')
    assert pack(store, range(4), path).resumed == 0
    assert PackedStore(path).verify() == []
