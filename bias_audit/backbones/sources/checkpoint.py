"""An architecture of timm or torchvision with weights from a local file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from bias_audit.backbones.library import Library
from bias_audit.backbones.loading import BackboneSource, Built, Fit, LibraryParams
from bias_audit.backbones.weight_files import refuse_missing
from bias_audit.backbones.weights import Wanted, fill_from
from bias_audit.config.schema import UserPath
from bias_audit.errors import BackboneError
from bias_audit.files import sha256_of


class ArchitectureParams(LibraryParams):
    """An architecture, and how files that fill it are read."""

    architecture: str = Field(
        description='Such as "resnet50"; with the tag of published weights, such as '
        '"resnet50.a1_in1k", also their preprocessing.'
    )
    library: Library = "timm"
    key: str | None = Field(
        default=None,
        coerce_numbers_to_str=True,
        description='Where in the file the weights are, such as "model_ema" or '
        '"model.state_dict"; default: where most names fit.',
    )
    prefix: str | None = Field(
        default=None,
        coerce_numbers_to_str=True,
        description='What names in the file begin with, such as "module.encoder_q."; default: '
        "what makes most names fit.",
    )
    preprocessing_of: str | None = Field(
        default=None,
        description='Published weights with the same preprocessing, such as "resnet50.tv_in1k" '
        'of timm or "IMAGENET1K_V2" of torchvision; default: found by the file, or assumed.',
    )
    num_classes: int | None = Field(
        default=None,
        ge=0,
        description="Outputs of the classifier; default: as many as the published weights have.",
    )
    licence: str = Field(default="not stated", description="Of the weights, for the report.")


class Params(ArchitectureParams):
    """An architecture, and the file that fills it."""

    file: UserPath = Field(description="A .safetensors file, or what torch.save wrote.")
    sha256: str | None = Field(default=None, description="Refuse the file unless it has this.")
    name: str | None = Field(default=None, description="For headings; default: the file's name.")


def _build(params: Params, pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    built = build_with(params, params.file, name=_called(params), pretrained=pretrained)
    if params.sha256 and (found := sha256_of(params.file)) != params.sha256.lower():
        raise BackboneError(
            f"weights file {params.file}: expected sha256 {params.sha256}, got {found}"
        )
    return built


def build_with(
    params: ArchitectureParams, file: Path, *, name: str, pretrained: bool = True
) -> Built:
    """Build an architecture and fill it from a file."""
    # Either library takes seconds to load, which a zoo's plan and status do without.
    from bias_audit.backbones.sources._published import architecture_for  # noqa: PLC0415

    architecture, reading, assumed = architecture_for(params, file)
    refuse_missing(file)
    wanted = Wanted(params.key, params.prefix)
    fit = fill_from(file, architecture, wanted) if pretrained else Fit()
    fit = replace(fit, reading=(*fit.reading, reading), assumed=(*fit.assumed, *assumed))
    return Built(architecture, name, file.name, params.licence, fit)


def _called(params: Params) -> str:
    return params.name or params.file.stem


def refilled_from(params: ArchitectureParams, file: Path, *, name: str) -> Built:
    """The architecture with another file, which may hold the same weights in another place."""
    try:
        return build_with(params, file, name=name)
    except BackboneError:
        if params.key is None and params.prefix is None:
            raise
        anywhere = params.model_copy(update={"key": None, "prefix": None})
        return build_with(anywhere, file, name=name)


def _matching(pattern: str) -> tuple[dict[str, Any], ...]:
    place = Path(pattern).expanduser()
    root = Path(place.anchor)
    found = sorted(root.glob(str(place.relative_to(root))))
    return tuple({"file": str(path)} for path in found if path.is_file())


PLUGIN = BackboneSource(
    title="checkpoint file",
    params_type=Params,
    build=_build,
    files=lambda params: (params.file,) if params.file.is_file() else (),
    refilled=lambda params, file: refilled_from(params, file, name=_called(params)),
    matching=_matching,
    called=_called,
)
