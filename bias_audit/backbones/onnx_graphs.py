"""ONNX files, computed by onnxruntime node by node as they were written."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from bias_audit.backbones.extras import first_line, needed
from bias_audit.backbones.graphs import GraphInput, ReadGraph
from bias_audit.contents import other_content
from bias_audit.errors import BackboneError

_DTYPES: Final = {1: torch.float32, 2: torch.uint8, 10: torch.float16, 11: torch.float64}
"""By ONNX's number."""
_ACTIVATIONS: Final = {"Relu", "Clip", "Gelu", "HardSwish", "LeakyRelu", "PRelu", "Elu", "Concat"}
_IMAGES: Final = 4


def read_onnx(path: Path) -> ReadGraph:
    """Read an ONNX file; tensors beside it are read from its own folder alone.

    Raises:
        BackboneError: It is damaged, takes something other than images, or has operators that
            onnxruntime does not have. Operators of its own are never loaded.
    """
    onnx = needed("onnx", extra="onnx", kind="exported")
    runtime = needed("onnxruntime", extra="onnx", kind="exported")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # what a reader raises on arbitrary bytes is not bounded
        why = other_content(path, b"PK").replace("an ONNX graph", "") or first_line(error)
        raise BackboneError(f"{path}: no readable ONNX file ({why})") from error
    graph = model.graph
    fixed = _fixed(graph)
    constants = {each.name: each for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    taken = _taken(path, inputs, onnx.TensorProto.DataType.Name)
    values = tuple(name for node in graph.node for name in node.output if name)
    added = [
        node.output[0]
        for node in graph.node
        if node.op_type == "Add" and not set(node.input) & fixed
    ]
    blocks = added or [n.output[0] for n in graph.node if n.op_type in _ACTIVATIONS]
    sessions: dict[tuple[str, ...], Any] = {}

    def session(names: tuple[str, ...]) -> Any:
        if names not in sessions:
            sessions.clear()
            sessions[names] = _session(onnx, runtime, model, names, path)
        return sessions[names]

    def compute(images: Tensor, names: Sequence[str]) -> Mapping[str, Tensor]:
        arrays = session(tuple(names)).run(list(names), {inputs[0].name: images.cpu().numpy()})
        return {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}

    output = graph.output[0].name
    session((output,))  # operators that are not there show now
    return ReadGraph(
        compute,
        taken,
        values,
        output,
        tuple(blocks),
        n_parameters=sum(math.prod(each.dims) for each in constants.values()),
        head=_head(onnx, graph, output, constants),
    )


def _fixed(graph: Any) -> set[str]:
    """Names of values that do not depend on images."""
    fixed = {"", *(each.name for each in graph.initializer)}  # "" is an input that is left out
    for node in graph.node:  # in the order of computation
        if fixed.issuperset(node.input) and not node.op_type.startswith("Random"):
            fixed.update(node.output)
    return fixed


def external_files(path: Path) -> tuple[Path, ...]:
    """Files beside an ONNX file that have tensors of its graph; none where it cannot be read."""
    try:
        onnx = importlib.import_module("onnx")
        tensors = onnx.external_data_helper._get_all_tensors(
            onnx.load(str(path), load_external_data=False)
        )
    except Exception:  # noqa: BLE001  reading the graph says why
        return ()
    named = {
        entry.value for each in tensors for entry in each.external_data if entry.key == "location"
    }
    return tuple(place for name in sorted(named) if (place := path.parent / name).is_file())


def _taken(path: Path, inputs: Sequence[Any], named: Callable[[int], str]) -> GraphInput:
    shapes = [
        [d.dim_value if d.HasField("dim_value") else None for d in each.type.tensor_type.shape.dim]
        for each in inputs
    ]
    channels_last = len(shapes) == 1 and len(shapes[0]) == _IMAGES and shapes[0][1] != 3  # noqa: PLR2004
    channel = shapes[0][-1 if channels_last else 1] if shapes and len(shapes[0]) == _IMAGES else 0
    dtype = _DTYPES.get(inputs[0].type.tensor_type.elem_type) if inputs else None
    if len(inputs) != 1 or channel != 3 or dtype is None:  # noqa: PLR2004
        got = ", ".join(
            f"{each.name} {shape} {named(each.type.tensor_type.elem_type).lower()}"
            for each, shape in zip(inputs, shapes, strict=True)
        )
        raise BackboneError(
            f"{path}: expected a graph with one input of images, shape (n, 3, height, width) or "
            "(n, height, width, 3), of type float32, float16, float64 or uint8; got "
            f"{got or 'none'}"
        )
    height, width = shapes[0][1:3] if channels_last else shapes[0][2:4]
    return GraphInput(height, width, shapes[0][0] or None, channels_last, dtype)


def _session(onnx: Any, runtime: Any, model: Any, names: Sequence[str], path: Path) -> Any:
    """For some values; nodes are not fused, so that a value does not depend on those beside it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = {each.name: each for each in (*copy.graph.output, *copy.graph.value_info)}
    outputs = [kept.get(name) or onnx.ValueInfoProto(name=name) for name in names]
    del copy.graph.output[:]
    copy.graph.output.extend(outputs)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(
            copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise BackboneError(
            f"{path}: onnxruntime cannot compute this graph ({first_line(error)})"
        ) from error


def _head(
    onnx: Any, graph: Any, output: str, constants: Mapping[str, Any]
) -> tuple[str, Tensor, Tensor | None] | None:
    """The last linear layer, where the graph ends in a plain one."""
    last = next((node for node in graph.node if output in node.output), None)
    if last is None or last.op_type != "Gemm" or last.input[1] not in constants:
        return None
    settings = {each.name: onnx.helper.get_attribute_value(each) for each in last.attribute}
    is_plain = settings.get("alpha", 1) == settings.get("beta", 1) == 1
    has_bias = len(last.input) > 2  # noqa: PLR2004
    if not is_plain or settings.get("transA") or (has_bias and last.input[2] not in constants):
        return None
    read = onnx.numpy_helper.to_array
    weight = torch.from_numpy(read(constants[last.input[1]]).copy()).float()
    bias = torch.from_numpy(read(constants[last.input[2]]).copy()).float() if has_bias else None
    if bias is not None and bias.shape != (weight.shape[0 if settings.get("transB") else 1],):
        return None
    return last.input[0], weight if settings.get("transB") else weight.T.contiguous(), bias
