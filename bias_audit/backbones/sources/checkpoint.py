"""An architecture of timm or torchvision with weights from a local file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import nn

from bias_audit.backbones.backbone import BackboneParams, BackboneSource, Built, Preprocessing
from bias_audit.backbones.weights import (
    Fit,
    fill,
    read_state_dict,
    timm_preprocessing,
    torchvision_preprocessing,
)
from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import UserPath
from bias_audit.errors import BackboneError
from bias_audit.files import sha256_of


class Params(BackboneParams):
    """An architecture, and the file that fills it."""

    architecture: str = Field(description='Such as "resnet50", without a pretrained tag.')
    library: Literal["timm", "torchvision"] = "timm"
    file: UserPath = Field(description="A .safetensors file, or a .pth file of tensors alone.")
    sha256: str | None = Field(default=None, description="Refuse the file unless it has this.")
    num_classes: int = Field(default=1000, ge=0)
    licence: str = Field(default="not stated", description="Of the weights, for the report.")
    name: str | None = Field(default=None, description="For headings; default: the file's name.")


def _build(params: Params, pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    module, preprocessing = _architecture(params)
    fit = Fit()
    if pretrained:
        tensors = read_state_dict(params.file)
        _check_sha256(params)
        fit = fill(
            module,
            tensors,
            what=f"weights file {params.file} in {params.library} {params.architecture}",
        )
    elif not params.file.is_file():
        raise BackboneError(f"weights file {params.file}: not found")
    return Built(
        module=module,
        name=_called(params),
        architecture=f"{params.library} {params.architecture}",
        weights=params.file.name,
        licence=params.licence,
        preprocessing=preprocessing,
        missing=fit.missing,
        unexpected=fit.unexpected,
        misshapen=fit.misshapen,
    )


def _architecture(params: Params) -> tuple[nn.Module, Preprocessing]:
    # Either library takes seconds to load, which a zoo's plan and status do without.
    if params.library == "timm":
        import timm  # noqa: PLC0415

        if not timm.is_model(params.architecture):
            raise BackboneError(
                unknown_name(params.architecture, timm.list_models(), noun="timm architecture")
            )
        module = timm.create_model(
            params.architecture, pretrained=False, num_classes=params.num_classes
        )
        return module, timm_preprocessing(module)
    from torchvision import models  # noqa: PLC0415

    names = models.list_models(module=models)
    if params.architecture not in names:
        raise BackboneError(
            unknown_name(params.architecture, names, noun="torchvision architecture")
        )
    module = models.get_model(params.architecture, weights=None, num_classes=params.num_classes)
    return module, torchvision_preprocessing(None)


def _check_sha256(params: Params) -> None:
    found = sha256_of(params.file)
    if params.sha256 and found != params.sha256.lower():
        raise BackboneError(
            f"weights file {params.file}: expected sha256 {params.sha256}, got {found}"
        )


def _called(params: Params) -> str:
    return params.name or params.file.stem


def _files(params: Params) -> tuple[Path, ...]:
    return (params.file,) if params.file.is_file() else ()


def _matching(pattern: str) -> tuple[dict[str, Any], ...]:
    place = Path(pattern).expanduser()
    root = Path(place.anchor)
    found = sorted(root.glob(str(place.relative_to(root))))
    return tuple({"file": str(path)} for path in found if path.is_file())


PLUGIN = BackboneSource(
    title="checkpoint file",
    params_type=Params,
    build=_build,
    files=_files,
    matching=_matching,
    called=_called,
)
