"""From a network to ONNX files that ONNX Runtime and TensorRT read.

The precision is in the file: a float16 export computes in float16 throughout, takes what a float32
export takes (silhouettes uint8, theta and keypoints float32) and gives embeddings float32. Features
between the parts stay float16. TensorRT 11 has no other way to choose it.

A file is checked before it takes its place: ONNX Runtime runs it beside torch on made-up people.
"""

from __future__ import annotations

import copy
import importlib
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError, WeightsError
from pipeline.extras import install_command
from stages.embed.networks.interface import GaitNetwork
from stages.embed.parts import FramePart, HeadPart
from stages.embed.runtimes.atomic_write import write_atomically
from stages.embed.runtimes.exported_files import (
    FRAMES,
    HEAD,
    ExportedFiles,
    PartFacts,
    Port,
    content_sha256,
    entries_of,
    files_in,
)
from stages.embed.runtimes.onnx_runtime import OnnxRuntime
from stages.embed.runtimes.parity import TOLERANCES, Differences, differences, made_up_inputs

if TYPE_CHECKING:
    import onnx

log = logging.getLogger(__name__)

Precision = Literal["float32", "float16"]
NEEDED = ("onnx", "onnxscript", "onnxruntime")
# What the parts are traced with; any other number of frames, windows and frames a window goes too.
TRACED_FRAMES, TRACED_WINDOWS, TRACED_LENGTH = 3, 2, 30
EMBEDDINGS = "embeddings"
EXPORT_LOGGERS = ("onnxscript", "onnx_ir", "torch.onnx")


@dataclass(frozen=True, slots=True)
class Export:
    """What an export made.

    Attributes:
        differences: ONNX Runtime's from torch's float32, each file as it now lies there.
        operators: how many of each the parts hold, most frequent first.
    """

    files: ExportedFiles
    differences: Differences
    operators: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class _Part:
    """A part, ready to be traced. `free` are the letters of its inputs' leading free axes."""

    module: nn.Module
    examples: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    free: tuple[str, ...]


def require_onnx() -> None:
    """Raise a ConfigError that says what to install, if anything that exports is not there."""
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"exporting to ONNX needs {name}, which does not load: {error}",
                hint=f"Install it: {install_command('onnx')}",
            ) from error


def export_onnx(
    network: GaitNetwork,
    folder: Path,
    stem: str,
    *,
    weights_hash: str,
    use_smpl: bool = True,
    precision: Precision = "float32",
) -> Export:
    """Write `<stem>.frames.onnx` (for a network that pools) and `<stem>.head.onnx`, and check them.

    Free are the frames m of the frame part, the windows n of the head, and for a network that does
    not pool the frames s of a window. The network itself is left as it is.

    Args:
        network: in any mode, on any device, float32.
        folder: must exist. Files of an earlier export are replaced, once the new ones are checked.
        weights_hash: of the weights file; a runtime refuses files of other weights.
        use_smpl: false exports a network with a body branch as it is without bodies.

    Raises:
        ConfigError: onnx, onnxscript or onnxruntime is not installed.
        WeightsError: the files cannot be written, or their numbers lie further from torch's than
            `parity.TOLERANCES`.
    """
    require_onnx()
    network = copy.deepcopy(network).eval().requires_grad_(False).float().cpu()
    network.drop_training_parts()
    muted = network.needs_no_bodies and not use_smpl
    operators: dict[str, Mapping[str, int]] = {}
    try:
        with tempfile.TemporaryDirectory(prefix=f".{stem}.", dir=folder) as made:
            drafts = files_in(Path(made), stem, network.pools)
            for name, part in _parts_of(network, not muted, precision).items():
                model = _traced(part)
                facts = PartFacts(
                    network=network.name,
                    config=network.export_config(),
                    weights_hash=weights_hash,
                    part=name,
                    precision=precision,
                    use_smpl=not muted,
                    inputs=_ports(model.graph.input),
                    outputs=_ports(model.graph.output),
                )
                write_atomically(drafts.parts()[name], _file_of(model, facts))
                operators[name] = dict(Counter(n.op_type for n in model.graph.node).most_common())
            found = _checked(drafts, network, not muted, precision)
            files = files_in(folder, stem, network.pools)
            for name, draft in drafts.parts().items():
                draft.replace(files.parts()[name])
    except OSError as error:
        raise WeightsError(
            f"cannot write an exported network in {folder}: {error.strerror}"
        ) from error
    return Export(files, found, operators)


@torch.inference_mode()
def _parts_of(network: GaitNetwork, use_smpl: bool, precision: Precision) -> dict[str, _Part]:
    """Return the parts, of a copy of the network in that precision."""
    dtype = torch.float16 if precision == "float16" else torch.float32
    frames = FramePart(network, use_smpl).eval()
    typed = copy.deepcopy(network)
    optimise = getattr(typed, "optimise_for_inference", None)
    if optimise is not None:
        optimise()
    typed = typed.to(dtype)
    head = HeadPart(typed).eval()
    if not network.pools:
        windows = [
            made_up_inputs(network, frames.reads, TRACED_LENGTH, seed)
            for seed in range(TRACED_WINDOWS)
        ]
        examples = tuple(torch.stack(rows) for rows in zip(*windows, strict=True))
        return {HEAD: _Part(head, examples, frames.reads, (EMBEDDINGS,), ("n", "s"))}
    inputs = tuple(made_up_inputs(network, frames.reads, TRACED_FRAMES, 0))
    features = tuple(level.to(dtype) for level in frames(*inputs))
    names = tuple(f"feature{i}" for i in range(len(features)))
    pooled = tuple(level[:TRACED_WINDOWS] for level in features)
    module = FramePart(typed, use_smpl).eval()
    return {
        FRAMES: _Part(module, inputs, frames.reads, names, ("m",)),
        HEAD: _Part(head, pooled, names, (EMBEDDINGS,), ("n",)),
    }


def _traced(part: _Part) -> onnx.ModelProto:
    """Return the part as ONNX, without what tracing leaves behind."""
    free = dict.fromkeys(range(len(part.free)), torch.export.Dim.DYNAMIC)
    for name in EXPORT_LOGGERS:  # else: thirty lines a part on what was folded into what
        logging.getLogger(name).setLevel(logging.WARNING)
    program = torch.onnx.export(
        part.module,
        part.examples,
        dynamo=True,
        dynamic_shapes=((free,) * len(part.examples),),
        input_names=part.inputs,
        output_names=part.outputs,
        verbose=False,
    )
    assert program is not None, "dynamo=True returns a program"
    model = program.model_proto
    _strip(model.graph)
    for function in model.functions:
        _strip_nodes(function.node)
    for values, letters in ((model.graph.input, part.free), (model.graph.output, part.free[:1])):
        for value in values:
            for letter, dim in zip(letters, value.type.tensor_type.shape.dim, strict=False):
                dim.dim_param = letter
    return model


def _strip(graph: onnx.GraphProto) -> None:
    """Let go of shapes in between and of where in our code each node comes from: whole paths."""
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _strip(attribute.g)
        if node.op_type == "Conv":
            _undilate(node)


def _undilate(node: onnx.NodeProto) -> None:
    """Give a 1x1 convolution no dilation: it has none, whatever a network says for torch's sake."""
    ints = {attribute.name: attribute.ints for attribute in node.attribute}
    if set(ints.get("kernel_shape", ())) == {1} and "dilations" in ints:
        ints["dilations"][:] = [1] * len(ints["dilations"])


def _file_of(model: onnx.ModelProto, facts: PartFacts) -> bytes:
    """Return the bytes of the file, with what it says of itself."""
    import onnx

    del model.metadata_props[:]
    content = content_sha256(model.SerializeToString(deterministic=True))
    onnx.helper.set_model_props(model, {**entries_of(facts), "content_sha256": content})
    return model.SerializeToString(deterministic=True)


def _ports(values: Iterable[onnx.ValueInfoProto]) -> tuple[Port, ...]:
    import onnx

    return tuple(
        Port(
            value.name,
            str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
            tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim),
        )
        for value in values
    )


def _checked(
    drafts: ExportedFiles, network: GaitNetwork, use_smpl: bool, precision: Precision
) -> Differences:
    """Return how far the files' numbers lie from torch's; WeightsError if too far."""
    found = differences(OnnxRuntime(drafts), network, use_smpl)
    tolerance = TOLERANCES[precision]
    log.info("exported %s in %s: differs from torch by %s", network.name, precision, found)
    if found.largest > tolerance:
        raise WeightsError(
            f"{network.name} exported in {precision} differs from torch by {found} of the largest "
            f"number, more than {tolerance:g}",
            hint="Export in float32: these weights may be too large for float16."
            if precision == "float16"
            else "The weights may be damaged; report it if they embed well with --runtime torch.",
        )
    return found
