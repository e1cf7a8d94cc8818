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
from bias_audit.backbones.onnx_graphs import external_files, read_onnx
from bias_audit.backbones.weight_files import kind_of, refuse_missing
from bias_audit.config.schema import UserPath
from bias_audit.errors import BackboneError
from bias_audit.files import digest, sha256_of

_READERS: Final = {".onnx": read_onnx, ".pt2": read_exported_program}
_ROUNDING: Final = 1e-2
"""As a share of the largest output: more than half precision rounds, less than chance changes."""


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
    prefix_tokens: int | None = Field(
        default=None,
        ge=0,
        description="Tokens before those of patches, such as a class token and registers; "
        "default: one or none, found by their count.",
    )
    licence: str = Field(default="not stated", description="Of the weights, for the report.")


def _build(params: Params, _pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    return _filled(params, params.file)


def _filled(params: Params, file: Path) -> Built:
    refuse_missing(file)
    if file.suffix not in _READERS:
        raise BackboneError(
            f"{file}: expected a file ending in {' or '.join(_READERS)}, got another kind "
            f"({kind_of(file)}); export the network with torch.export.save, or audit its weights "
            "by kind: checkpoint"
        )
    found = sha256_of(file)
    if params.sha256 and found != params.sha256.lower():
        raise BackboneError(f"{file}: expected sha256 {params.sha256}, got {found}")
    beside = external_files(file) if file.suffix == ".onnx" else ()
    whole = digest(found, *(f"{each.name} {sha256_of(each)}" for each in beside))
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
    if wanted.size is not None and (height, width) != (wanted.size, wanted.size):
        raise BackboneError(
            f"{file}: its graph takes {height} x {width} pixels, got preprocessing.size "
            f"{wanted.size}; remove this key"
        )
    if not taken.dtype.is_floating_point and (any(wanted.mean) or wanted.std != (1, 1, 1)):
        raise BackboneError(
            f"{file}: its graph takes whole numbers from 0 to 255 and normalises them itself; "
            "expected preprocessing.mean [0, 0, 0] and std [1, 1, 1]"
        )
    assumed: tuple[str, ...] = ()
    if wanted.interpolation is None:
        assumed = (
            "the file does not say how images are interpolated: bilinear is assumed; name it with "
            "preprocessing.interpolation",
        )
    engine = "ONNX" if file.suffix == ".onnx" else "torch.export"
    module = Graph(graph, torch.frombuffer(bytearray.fromhex(whole), dtype=torch.uint8))
    if params.prefix_tokens is not None:
        module.num_prefix_tokens = params.prefix_tokens  # type: ignore[assignment]
    _refuse_mixing(module, (height, width), file)
    return Built(
        Architecture(
            module,
            f"{engine} graph of {len(graph.values)} values",
            Preprocessing(height, width, "stretch", 1.0, "bilinear", wanted.mean, wanted.std),
            Classes(params.num_classes, "the config") if params.num_classes else Classes(),
            libraries=("onnx", "onnxruntime") if engine == "ONNX" else ("torch",),
            n_parameters=graph.n_parameters,
        ),
        _called(params),
        weights=file.name,
        licence=params.licence,
        fit=Fit(
            reading=(
                f"{engine} graph, computed as it was exported",
                f"file SHA-256 {found}",
                *(f"tensors in {each.name}, SHA-256 {sha256_of(each)}" for each in beside),
            ),
            assumed=assumed,
        ),
    )


def _refuse_mixing(module: Graph, size: tuple[int, int], file: Path) -> None:
    """Raise where the answer for an image depends on chance, or on the images beside it."""
    a, b, c = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, two = (module(torch.stack(pair)).float() for pair in ((a, b), (c, b)))
    if one.ndim and len(one) == len(two) == 2:  # noqa: PLR2004  else layers are refused
        scale = _ROUNDING * float(one[1].abs().max())
        if not torch.allclose(one[1], two[1], rtol=0, atol=scale, equal_nan=True):
            raise BackboneError(
                f"{file}: what its graph returns for an image depends on chance, or on the images "
                "beside it; export the network in evaluation mode (module.eval()), or for one "
                "image at a time"
            )


def _called(params: Params) -> str:
    return params.name or params.file.stem


def _files(params: Params) -> tuple[Path, ...]:
    if not params.file.is_file():
        return ()
    return params.file, *(external_files(params.file) if params.file.suffix == ".onnx" else ())


PLUGIN = BackboneSource(
    title="exported network",
    params_type=Params,
    build=_build,
    files=_files,
    refilled=_filled,
    called=_called,
    gives="forward pass",
)
