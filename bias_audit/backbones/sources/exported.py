"""Networks exported as ONNX or by torch.export: layers are the values that their graphs name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from pydantic import Field

from bias_audit.backbones.exported_programs import read_exported_program
from bias_audit.backbones.graphs import Graph
from bias_audit.backbones.head import Classes
from bias_audit.backbones.loading import (
    Architecture,
    BackboneParams,
    BackboneSource,
    Built,
    Fit,
    Preprocessing,
)
from bias_audit.backbones.onnx_graphs import read_onnx
from bias_audit.backbones.weight_files import refuse_missing
from bias_audit.config.schema import UserPath
from bias_audit.errors import BackboneError
from bias_audit.files import sha256_of

_READERS: Final = {".onnx": read_onnx, ".pt2": read_exported_program}


class Params(BackboneParams):
    """Which exported network, and what its file does not say."""

    file: UserPath = Field(description="An .onnx file, or a .pt2 file of torch.export.save.")
    sha256: str | None = Field(default=None, description="Refuse the file unless it has this.")
    name: str | None = Field(default=None, description="For headings; default: the file's name.")
    num_classes: int = Field(
        default=0,
        ge=0,
        description="Outputs that are scores of classes; 0: the output is no class scores.",
    )
    licence: str = Field(default="not stated", description="Of the weights, for the report.")


def _build(params: Params, _pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    return _filled(params, params.file)


def _filled(params: Params, file: Path) -> Built:
    refuse_missing(file)
    if file.suffix not in _READERS:
        raise BackboneError(f"{file}: expected a file ending in {' or '.join(_READERS)}")
    found = sha256_of(file)
    if params.sha256 and found != params.sha256.lower():
        raise BackboneError(f"{file}: expected sha256 {params.sha256}, got {found}")
    wanted = params.preprocessing
    if wanted.mean is None or wanted.std is None:
        raise BackboneError(
            f"{file}: an exported network does not say how images are prepared; expected mean "
            "and std below preprocessing (of RGB between 0 and 1; [0, 0, 0] and [1, 1, 1] where "
            "the graph normalises)"
        )
    graph = _READERS[file.suffix](file)
    taken = graph.taken
    height, width = taken.height or wanted.size, taken.width or wanted.size
    if height is None or width is None:
        raise BackboneError(f"{file}: its graph takes any size; expected preprocessing.size")
    assumed: tuple[str, ...] = ()
    if wanted.interpolation is None:
        assumed = (
            "the file does not say how images are interpolated: bilinear is assumed; name it with "
            "preprocessing.interpolation",
        )
    engine = "ONNX" if file.suffix == ".onnx" else "torch.export"
    return Built(
        Architecture(
            Graph(graph, torch.frombuffer(bytearray.fromhex(found), dtype=torch.uint8)),
            f"{engine} graph of {len(graph.values)} values",
            Preprocessing(height, width, "stretch", 1.0, "bilinear", wanted.mean, wanted.std),
            Classes(params.num_classes, "as the config says") if params.num_classes else Classes(),
            libraries=("onnx", "onnxruntime") if engine == "ONNX" else ("torch",),
            n_parameters=graph.n_parameters,
        ),
        _called(params),
        weights=file.name,
        licence=params.licence,
        fit=Fit(
            reading=(f"{engine} graph, computed as it was exported", f"file SHA-256 {found}"),
            assumed=assumed,
        ),
    )


def _called(params: Params) -> str:
    return params.name or params.file.stem


PLUGIN = BackboneSource(
    title="exported network",
    params_type=Params,
    build=_build,
    files=lambda params: (params.file,) if params.file.is_file() else (),
    refilled=_filled,
    called=_called,
    gives="forward pass",
)
