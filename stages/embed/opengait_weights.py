"""Reads the checkpoints (`.pt`) that OpenGait and Gait3D-Benchmark save, for SMPLGait and GLN.

Both projects give the tensors the same names, in all their versions. The same shapes can mean two
things, though, and nothing in a file says which:

- Code before OpenGait 2 counts the numbers of the part feature part by part, later code and ours
  channel by channel. Embeddings do not depend on it; classifiers and the compact block do.
- GLN, and SMPLGait without a body branch, run on silhouettes of any size, but are good on the size
  that they were trained with.

So the caller says both. All other settings follow from the shapes of the tensors. A file is read
with `torch.load(weights_only=True)`: numbers and plain data, no code.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
import warnings
import zipfile
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import WeightsError
from stages.embed import weights as weights_file
from stages.embed.networks import gaitgln, smplgait
from stages.embed.networks.catalogue import build_network
from stages.embed.networks.interface import GaitNetwork

# With its optimiser's state SMPLGait for 20,000 identities has about 1.6 GB.
MAX_BYTES = 4 << 30
BLOCK_BYTES = 1 << 20
SHOWN = weights_file.SHOWN
PREFIX = "module."  # of a network that was wrapped for several GPUs
COUNTER = "num_batches_tracked"
FIRST_LATERAL = "lateral_layer1.weight"
HINT = (
    "Give a checkpoint of OpenGait or Gait3D-Benchmark (NAME-ITERATION.pt): that of SMPLGait "
    "or Baseline for network smplgait, of GLN for network gaitgln."
)
WIDTHS = range(1, 4097)
CLASSES = range(1, 1_000_001)

# How a tensor's name begins, here and there.
SMPLGAIT_NAMES = {
    **{
        f"backbone.block.{layer}.": f"Backbone.forward_block.feature.{layer}.conv."
        for layer in (0, 2, 5, 7, 10, 12)
    },
    **{f"body.{kind}{i}.": f"{kind}{i}." for kind in ("fc", "bn") for i in (1, 2, 3)},
    "fcs.weight": "FCs.fc_bin",
    "bn_necks.weight": "BNNecks.fc_bin",
    "bn_necks.bn.": "BNNecks.bn1d.",
}
GLN_NAMES = {
    **{
        f"trunk.stages.{stage}.{layer}.": f"sil_stage_{stage}.forward_block.{layer}.conv."
        for stage in (0, 1, 2)
        for layer in (0, 2)
    },
    **{
        f"pyramid.set_branch.stages.{stage - 1}.{layer}.": f"set_stage_{stage}.{layer}.conv."
        for stage in (1, 2)
        for layer in (0, 2)
    },
    **{f"pyramid.laterals.{i}.": f"lateral_layer{i + 1}." for i in (0, 1, 2)},
    **{f"pyramid.smoothings.{i}.": f"smooth_layer{i + 1}." for i in (0, 1, 2)},
    "fcs.weight": "Head.fc_bin",
    "compact_block.bn_in.": "encoder_bn.",
    "compact_block.fc.": "reduce_fc.",
    "compact_block.bn_out.": "reduce_bn.",
    "classifier.": "reduce_cls.",
}
NAMES: Mapping[str, Mapping[str, str]] = {smplgait.NAME: SMPLGAIT_NAMES, gaitgln.NAME: GLN_NAMES}
# Whose last axis counts the numbers of the part feature.
COUNTS_PARTS = ("BNNecks.bn1d.", "encoder_bn.", "reduce_fc.")


def load_opengait(
    path: Path,
    network_name: str,
    *,
    height: int | None = None,
    vector: str = "parts",
    parts_first: bool = False,
) -> tuple[GaitNetwork, str]:
    """Return a network with the weights of a checkpoint, in eval mode on the processor, and a hash.

    The hash is the first 16 hex digits of the file's SHA-256. What the file holds beside the
    network, such as the optimiser's state, is left alone.

    Args:
        network_name: smplgait (also for OpenGait's Baseline, which is SMPLGait without its body
            branch) or gaitgln.
        height: of the silhouettes it was trained on, pixels: 64 or 128. SMPLGait with a body branch
            tells it itself; the others need it.
        vector: what a gaitgln embedding is: parts, or compact where there is a compact block.
        parts_first: the file comes from code before OpenGait 2, see above.

    Raises:
        WeightsError: the file is missing, empty, too large, damaged, more than tensors and plain
            data, or of another network (the first ten keys that differ are named); a number is not
            finite; a setting is missing or does not fit.
    """
    if network_name not in NAMES:
        raise WeightsError(
            f"weights {path}: no reader of published checkpoints for network {network_name!r}, "
            f"only for {', '.join(NAMES)}",
            hint="Give a .safetensors file that this program has written.",
        )
    tensors = _state_of(path, _load(path))
    shapes = _shapes_of(tensors)
    config_of = _smplgait_config if network_name == smplgait.NAME else _gln_config
    config = {**config_of(shapes, height), **_vector_setting(path, network_name, vector)}
    try:
        with torch.device("meta"):  # shapes only, until they are known to be the file's
            network = build_network(network_name, config)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"weights {path} do not make a network {network_name}: {error}", hint=HINT
        ) from error
    published = {key: _published_name(network_name, key) for key in network.state_dict()}
    _check(path, network, published, shapes)
    _check_height(path, config, height)

    state = {
        key: _converted(name, tensors, network, parts_first) for key, name in published.items()
    }
    weights_file.check_finite(path, {published[key]: t.numpy() for key, t in state.items()})
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval(), _hash_of(path)


def _load(path: Path) -> Any:
    """Return what torch reads from the file, its tensors still on disk."""
    weights_file.check_file(path, MAX_BYTES, HINT)
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # about the form of the pickle; the contents are checked
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"weights {path} hold more than tensors and plain data, or are damaged: torch refuses "
            f"to read them without running code of theirs ({_first_line(error)})",
            hint="Ask whoever made it for the network's state dict alone: a file of tensors.",
        ) from error
    except (
        RuntimeError,
        OSError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        ImportError,
        AssertionError,
        OverflowError,
        struct.error,
    ) as error:  # whatever a damaged pickle may run into
        raise WeightsError(
            f"weights {path} are damaged: {_first_line(error)}", hint=HINT
        ) from error


def _check_archive(path: Path) -> None:
    """Check that the file is an archive as torch writes it: whole, and without compression."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start != b"PK\x03\x04":
            raise WeightsError(
                f"weights {path} are no checkpoint of torch 1.6 or later (they begin with "
                f"{start!r})",
                hint=HINT,
            )
        with zipfile.ZipFile(path) as archive:
            # A compressed record could unpack to any size.
            packed = [
                entry.filename
                for entry in archive.infolist()
                if entry.compress_type != zipfile.ZIP_STORED
            ]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(
            f"weights {path} are damaged: {_first_line(error)}", hint=HINT
        ) from error
    if packed:
        raise WeightsError(
            f"weights {path} are compressed ({packed[0]}), which torch never does", hint=HINT
        )


def _state_of(path: Path, data: Any) -> dict[str, Tensor]:
    """Return the network's tensors by name, without `PREFIX`."""
    state = data.get("model", data) if isinstance(data, dict) else data
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(key, str) and isinstance(t, Tensor) for key, t in state.items())
    ):
        shown = ", ".join(str(key) for key in list(data)[:SHOWN]) if isinstance(data, dict) else ""
        raise WeightsError(
            f"weights {path} hold no network: expected a dict of tensors, or one with such a dict "
            f"as 'model', got {type(data).__name__}" + (f" of {shown}" if shown else ""),
            hint=HINT,
        )
    tensors = {key.removeprefix(PREFIX): tensor.detach() for key, tensor in state.items()}
    if len(tensors) != len(state):
        raise WeightsError(f"weights {path} name tensors twice, with and without {PREFIX!r}")
    # Views may claim any size: what they claim must be in the file.
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > path.stat().st_size or any(t.layout != torch.strided for t in tensors.values()):
        raise WeightsError(
            f"weights {path} are damaged: their tensors claim {size} bytes, or are no plain ones",
            hint=HINT,
        )
    return tensors


def _shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in tensors.items()
    }


def _smplgait_config(shapes: weights_file.Shapes, height: int | None) -> dict[str, Any]:
    """Return the settings that the shapes tell; the usual ones where a shape is missing."""
    conv = "Backbone.forward_block.feature.{}.conv.weight"
    has_body = any(f"fc{i}.weight" in shapes for i in (1, 2, 3))
    heights = {(size // 4) ** 2: size for size in smplgait.SIZES_HW}  # by the matrix's numbers
    told = _size(shapes, "fc3.weight", 0, 0, heights) if has_body else 0
    return {
        "height": heights[told] if told else height or min(smplgait.SIZES_HW),
        "use_smpl": has_body,
        "class_num": _size(shapes, "BNNecks.fc_bin", -1, 0, CLASSES),
        "out_channels": _size(shapes, "FCs.fc_bin", -1, 256),
        "channels": [
            _size(shapes, conv.format(layer), 0, width)
            for layer, width in zip((0, 5, 10), smplgait.CHANNELS, strict=True)
        ],
    }


def _gln_config(shapes: weights_file.Shapes, height: int | None) -> dict[str, Any]:
    """Return the settings that the shapes tell; the usual ones where a shape is missing."""
    conv = "sil_stage_{}.forward_block.0.conv.weight"
    compact = "reduce_fc.weight" in shapes
    return {
        "height": height or min(gaitgln.SIZES_HW),
        "variant": "paper",
        "compact": compact,
        "class_num": _size(shapes, "reduce_cls.weight", 0, 0, CLASSES) if compact else 0,
        "channels": [
            _size(shapes, conv.format(stage), 0, width)
            for stage, width in enumerate(gaitgln.CHANNELS)
        ],
        "lateral_channels": _size(shapes, FIRST_LATERAL, 0, 256),
        "lateral_kernel": _size(shapes, FIRST_LATERAL, 3, 1, gaitgln.LATERAL_KERNELS),
        "out_channels": _size(shapes, "Head.fc_bin", -1, 256),
    }


def _vector_setting(path: Path, network_name: str, vector: str) -> dict[str, str]:
    if network_name == gaitgln.NAME:
        return {"vector": vector}
    if vector != "parts":
        raise WeightsError(f"weights {path}: {network_name} has no vector {vector!r}, only parts")
    return {}


def _size(
    shapes: weights_file.Shapes,
    name: str,
    axis: int,
    otherwise: int,
    allowed: Container[int] = WIDTHS,
) -> int:
    """Return the length of a tensor's axis, `otherwise` where none is or it is not allowed."""
    shape = shapes[name][1] if name in shapes else ()
    size = shape[axis] if -len(shape) <= axis < len(shape) else otherwise
    return size if size in allowed else otherwise


def _published_name(network_name: str, key: str) -> str:
    for ours, theirs in NAMES[network_name].items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise AssertionError(f"{network_name} has {key}, which no published name stands for")


def _check(
    path: Path, network: GaitNetwork, published: Mapping[str, str], found: weights_file.Shapes
) -> None:
    """Check that the file holds exactly the tensors of this network."""
    expected = {
        published[key]: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for key, tensor in network.state_dict().items()
    }
    if FIRST_LATERAL in expected:  # the first stage's map lies beside itself
        dtype, (out_channels, channels, *kernel) = expected[FIRST_LATERAL]
        expected[FIRST_LATERAL] = (dtype, (out_channels, 2 * channels, *kernel))
    # Files may do without the counters, which no result depends on.
    counters = {name: expected[name] for name in expected if name.endswith(COUNTER)}
    differing = weights_file.differences({**counters, **found}, expected)
    if differing:
        raise WeightsError(
            f"weights {path} do not fit network {network.name} as their shapes describe it; "
            f"{differing}",
            hint=HINT,
        )


def _check_height(path: Path, config: Mapping[str, Any], height: int | None) -> None:
    if height is None and not config.get("use_smpl"):
        raise WeightsError(
            f"weights {path} do not tell the height of the silhouettes they were trained on",
            hint="Say it: 64 or 128 (OpenGait's GLN for CASIA-B has 128).",
        )
    if height is not None and height != config["height"]:
        raise WeightsError(
            f"weights {path} were trained on silhouettes of height {config['height']}, not {height}"
        )


def _converted(
    name: str, tensors: Mapping[str, Tensor], network: GaitNetwork, parts_first: bool
) -> Tensor:
    """Return a copy of the published tensor `name` as our network has it."""
    if name not in tensors:
        return torch.zeros((), dtype=torch.int64)  # a counter
    tensor = tensors[name]
    if name == FIRST_LATERAL:
        first, second = tensor.chunk(2, 1)  # both of them see the same map
        return first + second
    if parts_first and tensor.ndim and name.startswith(COUNTS_PARTS):
        channels, parts = _part_feature_shape(network)
        tensor = tensor.unflatten(-1, (parts, channels)).transpose(-1, -2).flatten(-2)
    return tensor.clone(memory_format=torch.contiguous_format)


def _part_feature_shape(network: GaitNetwork) -> tuple[int, int]:
    """Return (c, p) of the part feature, whichever vector is the embedding."""
    if isinstance(network, gaitgln.GaitGLN):
        return network.config.out_channels, network.parts
    return network.vector_shape


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
