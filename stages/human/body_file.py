"""Reads a body in SMPL's file layout: the open body that ships here, or another one.

Fields (Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015):
v_template [V,3], f [F,3], shapedirs [V,3,10 or more], posedirs [V,3,207] (may be missing),
J_regressor [24,V], weights [V,24], kintree_table [2,24]. Metres, y up, facing +z, the person's
left towards +x. `.npz`, or `.pkl` as SMPL is handed out.

A pickle can run code when it is read. This reader gives it nothing to run: array, dtype and
scalar of numpy, scipy's compressed sparse matrices and chumpy's arrays are seen as stored data,
and any other name in the file is an error. Torch is not imported.
"""

from __future__ import annotations

import pickle
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import WeightsError
from stages.human.joints import SMPL_PARENTS

JOINT_COUNT = 24
SHAPE_COUNT = 10
POSE_FEATURE_COUNT = 9 * (JOINT_COUNT - 1)
OPEN_BODY_PATH = Path(__file__).parent / "data" / "open_body.npz"
# SMPL's own files hold 40 to 250 MB; more is not a body.
MAX_FILE_BYTES = 1_000_000_000

# Of the mean body; of the open one 1.7.
HEIGHT_RANGE_M = (0.5, 3.0)
_HEAD, _ANKLES = 15, (7, 8)

_REQUIRED = ("v_template", "f", "shapedirs", "J_regressor", "weights", "kintree_table")
_SPARSE_MODULES = ("scipy.sparse.csc", "scipy.sparse._csc", "scipy.sparse.csr", "scipy.sparse._csr")


@dataclass(frozen=True)
class BodyData:
    """A checked body file. V vertices, F triangles; metres.

    Attributes:
        template: float32 [V,3], rest pose of the mean body.
        faces: int64 [F,3], vertex indices, counter-clockwise seen from outside.
        shape_directions: float32 [V,3,10], metres per unit of shape.
        pose_directions: float32 [V,3,207], or None where the file has none (the same as zeros).
        joint_regressor: float32 [24,V], rows sum to one.
        weights: float32 [V,24], rows sum to one.
        parents: int64 [24], -1 for the root.
    """

    template: NDArray[np.float32]
    faces: NDArray[np.int64]
    shape_directions: NDArray[np.float32]
    pose_directions: NDArray[np.float32] | None
    joint_regressor: NDArray[np.float32]
    weights: NDArray[np.float32]
    parents: NDArray[np.int64]


def read_body_file(path: Path | str | None = None) -> BodyData:
    """Reads and checks a body file.

    Args:
        path: `.npz` or `.pkl`; None reads the open body that ships with the program.

    Raises:
        WeightsError: the file is missing, of another kind, refused, or a field does not fit.
    """
    path = OPEN_BODY_PATH if path is None else Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such body file. Give an .npz or .pkl in SMPL's layout.")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise WeightsError(f"{path}: {size} bytes, more than a body has ({MAX_FILE_BYTES}).")
    if path.suffix == ".npz":
        fields = _read_npz(path)
    elif path.suffix == ".pkl":
        fields = _read_pickle(path)
    else:
        raise WeightsError(f"{path}: expected .npz or .pkl, got {path.suffix or 'no suffix'!r}.")
    return check_body_fields(fields, str(path))


def check_body_fields(fields: dict[str, Any], name: str) -> BodyData:
    """Checks kinds, shapes and values of a file's fields; `name` begins every message."""
    missing = [field for field in _REQUIRED if field not in fields]
    if missing:
        raise WeightsError(
            f"{name}: no field {', '.join(missing)}. Expected {', '.join(_REQUIRED)} and, "
            f"optionally, posedirs; the file has {', '.join(sorted(map(str, fields))) or 'none'}."
        )
    template = _floats(fields, "v_template", name)
    vertex_count = template.shape[0] if template.ndim == 2 else 0
    _expect(template, (vertex_count or "V", 3), "v_template", name)
    shape_directions = _floats(fields, "shapedirs", name)
    if shape_directions.ndim == 3 and shape_directions.shape[2] > SHAPE_COUNT:
        shape_directions = shape_directions[:, :, :SHAPE_COUNT]  # SMPL ships up to 300
    _expect(shape_directions, (vertex_count, 3, SHAPE_COUNT), "shapedirs", name)
    regressor = _floats(fields, "J_regressor", name)
    _expect(regressor, (JOINT_COUNT, vertex_count), "J_regressor", name)
    weights = _floats(fields, "weights", name)
    _expect(weights, (vertex_count, JOINT_COUNT), "weights", name)
    pose_directions = None
    if fields.get("posedirs") is not None:
        pose_directions = _floats(fields, "posedirs", name)
        _expect(pose_directions, (vertex_count, 3, POSE_FEATURE_COUNT), "posedirs", name)
    for field, rows in (("J_regressor", regressor), ("weights", weights)):
        worst = float(np.abs(rows.sum(axis=1) - 1.0).max())
        if worst > 0.02:
            raise WeightsError(f"{name}: rows of {field} must sum to 1, one is off by {worst:.3f}.")
    _expect_upright_metres(template, regressor, name)
    return BodyData(
        template=template,
        faces=_faces(fields["f"], vertex_count, name),
        shape_directions=np.ascontiguousarray(shape_directions),
        pose_directions=pose_directions,
        joint_regressor=regressor / regressor.sum(axis=1, keepdims=True),
        weights=weights / weights.sum(axis=1, keepdims=True),
        parents=_parents(fields["kintree_table"], name),
    )


def _expect_upright_metres(
    template: NDArray[np.float32], regressor: NDArray[np.float32], name: str
) -> None:
    sides = np.ptp(template, axis=0)
    low, high = HEIGHT_RANGE_M
    if not low <= sides[1] <= high:
        raise WeightsError(
            f"{name}: expected a body of {low:g} to {high:g} m along y, got sides of "
            f"{', '.join(f'{side:.3g}' for side in sides)}: is it in metres, and is y up?"
        )
    joints = regressor @ template
    if joints[_HEAD, 1] <= joints[list(_ANKLES), 1].max():
        raise WeightsError(
            f"{name}: expected the head above the ankles along y, got {joints[_HEAD, 1]:.2f} m "
            f"against {joints[list(_ANKLES), 1].max():.2f} m: is y up?"
        )


def _floats(fields: dict[str, Any], field: str, name: str) -> NDArray[np.float32]:
    value = fields[field]
    if isinstance(value, _StoredObject):
        value = value.to_array(f"{name}: {field}")
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise WeightsError(f"{name}: {field} must hold numbers, got dtype {array.dtype}.")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise WeightsError(f"{name}: {field} has values that are not finite.")
    return array


def _expect(array: NDArray, shape: tuple[int | str, ...], field: str, name: str) -> None:
    if array.shape != shape:
        wanted = ", ".join(map(str, shape))
        raise WeightsError(
            f"{name}: {field} must be [{wanted}], got {list(array.shape)}. "
            "SMPL with 24 joints is expected, not SMPL-H or SMPL-X."
        )


def _faces(value: Any, vertex_count: int, name: str) -> NDArray[np.int64]:
    faces = np.asarray(value)
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise WeightsError(f"{name}: f must be integers [F, 3], got {faces.dtype} {faces.shape}.")
    faces = faces.astype(np.int64)
    if faces.size and not (faces.min() >= 0 and faces.max() < vertex_count):
        raise WeightsError(
            f"{name}: f must index {vertex_count} vertices, got {faces.min()}..{faces.max()}."
        )
    return faces


def _parents(value: Any, name: str) -> NDArray[np.int64]:
    table = np.asarray(value)
    if table.shape != (2, JOINT_COUNT) or table.dtype.kind not in "iu":
        raise WeightsError(
            f"{name}: kintree_table must be integers [2, {JOINT_COUNT}], "
            f"got {table.dtype} {list(table.shape)}."
        )
    parents = table[0].astype(np.int64)
    parents[0] = -1  # SMPL writes 2**32 - 1
    if tuple(parents) != SMPL_PARENTS:
        raise WeightsError(f"{name}: kintree_table must be SMPL's tree, got {parents.tolist()}.")
    return parents


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        # numpy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            # What is not wanted is not read, but may have to be named in an error.
            return {field: archive[field] if field in _WANTED else None for field in archive.files}
    except (ValueError, OSError, EOFError, KeyError, BadZipFile, zlib.error) as error:
        raise WeightsError(f"{path}: not a readable .npz of plain arrays ({error}).") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            fields = _DataUnpickler(file, encoding="latin1").load()
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    # A broken pickle can raise nearly anything; none of it may leave as a raw traceback.
    except Exception as error:
        raise WeightsError(f"{path}: not a readable pickle ({error!r}).") from error
    if not isinstance(fields, dict):
        raise WeightsError(f"{path}: expected a dict of fields, got {type(fields).__name__}.")
    return fields


_WANTED = frozenset(_REQUIRED) | {"posedirs"}


class _StoredObject:
    """Stands in for a scipy or chumpy object: keeps its stored state, runs nothing."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_array(self, where: str) -> NDArray:
        raise NotImplementedError


class _StoredChumpy(_StoredObject):
    def to_array(self, where: str) -> NDArray:
        state = self.state if isinstance(self.state, dict) else {}
        if "x" in state:
            value = state["x"]
            return value.to_array(where) if isinstance(value, _StoredObject) else np.asarray(value)
        if isinstance(state.get("a"), _StoredObject) and "idxs" in state:  # chumpy's Select
            flat = state["a"].to_array(where).ravel()[np.asarray(state["idxs"])]
            return flat.reshape(state.get("preferred_shape", flat.shape))
        raise WeightsError(f"{where}: a chumpy object without a stored value; save it as .npz.")


class _StoredSparse(_StoredObject):
    is_column_major = True

    def to_array(self, where: str) -> NDArray:
        state = self.state if isinstance(self.state, dict) else {}
        shape = state.get("_shape", state.get("shape"))
        try:
            rows, columns = (int(count) for count in shape or ())
            data, indices = np.asarray(state["data"]), np.asarray(state["indices"])
            pointers = np.asarray(state["indptr"])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{where}: a sparse matrix without its parts.") from error
        if rows * columns > MAX_FILE_BYTES // 8 or min(rows, columns) < 0:
            raise WeightsError(f"{where}: a sparse matrix of {rows} x {columns} is no regressor.")
        dense = np.zeros((rows, columns))
        major = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
        where_to = (indices, major) if self.is_column_major else (major, indices)
        np.add.at(dense, where_to, data)
        return dense


class _StoredSparseRows(_StoredSparse):
    is_column_major = False


def _empty_array(*_arguments: Any) -> NDArray:
    """numpy's `_reconstruct` for plain arrays: the state that follows fills it."""
    return np.ndarray((0,), np.int8)


def _scalar(dtype: np.dtype, raw: Any = b"") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise WeightsError("a numpy scalar of objects is refused.")
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, dtype, count=1)[0]


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise WeightsError(f"bytes stored as {encoding!r} are refused.")
    return text.encode("latin1")


def _stored_instance(kind: type, *_arguments: Any) -> _StoredObject:
    if not (isinstance(kind, type) and issubclass(kind, _StoredObject)):
        raise WeightsError("only stored scipy and chumpy objects can be rebuilt.")
    return kind()


class _ArrayToken:
    """What the name `numpy.ndarray` stands for: a mark for `_empty_array`, nothing callable."""

    def __new__(cls) -> _ArrayToken:
        raise WeightsError("numpy.ndarray may not be called from a pickle.")


class _DataUnpickler(pickle.Unpickler):
    """Admits data and nothing that runs; every other name is refused."""

    _NAMES: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): _ArrayToken,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
        ("copyreg", "_reconstructor"): _stored_instance,
        ("copy_reg", "_reconstructor"): _stored_instance,
        ("builtins", "object"): object,
        ("__builtin__", "object"): object,
    }

    def __init__(self, file: BinaryIO, *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._NAMES:
            return self._NAMES[module, name]
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            if name == "_reconstruct":
                return _empty_array
            if name == "scalar":
                return _scalar
        if module in _SPARSE_MODULES and name in ("csc_matrix", "csr_matrix"):
            return _StoredSparse if name == "csc_matrix" else _StoredSparseRows
        if module == "chumpy" or module.startswith("chumpy."):
            return _StoredChumpy
        raise WeightsError(
            f"the pickle asks for {module}.{name}, which is not data and is refused. "
            "Load the file where you trust it and save its arrays as .npz."
        )
