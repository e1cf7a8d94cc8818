"""Activations that were computed elsewhere: an audit without the network."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, model_validator

from bias_audit.backbones.activation_files import ActivationTable, read_activations
from bias_audit.backbones.loading import BackboneParams, BackboneSource, Built
from bias_audit.config.schema import UserPath
from bias_audit.errors import BackboneError
from bias_audit.files import sha256_of
from bias_audit.results.audit import BackboneRecord

_OF_NETWORKS: Final = {"tokens", "zero_shot", "overrides", "preprocessing"}


class Params(BackboneParams):
    """Where the activations are, and what is known of the backbone behind them."""

    path: UserPath = Field(
        description="A folder of .npy files, or a .npy, .npz, .safetensors or .parquet file: one "
        "array or column for each layer, of shape (n_images, n_units). Also a folder that "
        "`bias-audit activations` wrote."
    )
    images: UserPath | None = Field(
        default=None,
        description="A text file that names the image of each row, one a line, or a CSV with a "
        "column `image`: the SHA-256 of its file, folder/file, or the file's name. Default: "
        "images.txt in the folder, or an array or column `image`.",
    )
    sha256: str | None = Field(default=None, description="Refuse a file unless it has this.")
    name: str | None = Field(default=None, description="For headings; default: the file's name.")
    architecture: str = Field(default="not stated", description="For the report.")
    weights: str = Field(default="not handed over", description="For the report.")
    licence: str = Field(default="not stated", description="Of the weights, for the report.")

    @model_validator(mode="after")
    def _without_network(self) -> Params:
        if useless := sorted(_OF_NETWORKS & self.model_fields_set):
            raise ValueError(f"{useless[0]}: activations are given as they are; remove this key")
        return self


def _given(params: Params) -> ActivationTable:
    path = params.path
    if params.sha256 is not None:
        found = sha256_of(path) if path.is_file() else "a folder"
        if found != params.sha256.lower():
            raise BackboneError(f"{path}: expected sha256 {params.sha256}, got {found}")
    record = BackboneRecord(
        name=_called(params),
        kind="activations",
        architecture=params.architecture,
        weights=params.weights,
        weights_sha256="",
        licence=params.licence,
        preprocessing={},
        layers=(),
        overrides={},
        key_problems=(),
        n_parameters=0,
    )
    order = () if isinstance(params.layers, str) else params.layers
    table = read_activations(path, images=params.images, record=record, order=order)
    how = f"activations of {len(table.images)} images from {path.name}, digest {table.fingerprint}"
    own = table.record
    named = {"name": params.name} if params.name else {}
    kept = own.model_copy(update={"kind": "activations", "reading": (*own.reading, how), **named})
    return ActivationTable(**{**vars(table), "record": kept})


def _called(params: Params) -> str:
    return params.name or params.path.stem


def _build(params: Params, _pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    _given(params)  # raises what is wrong with the files
    raise BackboneError(f"{params.path}: activations are no network")


def _files(params: Params) -> tuple[Path, ...]:
    inside = sorted(params.path.glob("*.*")) if params.path.is_dir() else [params.path]
    named = [params.images] if params.images else []
    return tuple(path for path in (*inside, *named) if path.is_file())


PLUGIN = BackboneSource(
    title="given activations",
    params_type=Params,
    build=_build,
    files=_files,
    called=_called,
    gives="activations",
    given=_given,
)
