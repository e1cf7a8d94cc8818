"""One architecture at several points of its training, from local files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from bias_audit.backbones.backbone import BackboneParams, BackboneSource, Built
from bias_audit.backbones.sources import checkpoint
from bias_audit.config.schema import UserPath


class Params(BackboneParams):
    """An architecture, and the files that fill it, in the order of training."""

    architecture: str = Field(description='Such as "resnet50", without a pretrained tag.')
    library: Literal["timm", "torchvision"] = "timm"
    files: tuple[UserPath, ...] = Field(
        min_length=2,
        description=".safetensors files, or .pth files of tensors alone, the earliest first.",
    )
    names: tuple[str, ...] | None = Field(
        default=None, description="For headings, one per file; default: the files' names."
    )
    num_classes: int = Field(default=1000, ge=0)
    licence: str = Field(default="not stated", description="Of the weights, for the report.")

    @model_validator(mode="after")
    def _one_name_each(self) -> Params:
        if self.names is not None and len(self.names) != len(self.files):
            raise ValueError(
                f"names: expected {len(self.files)}, one for each file, got {len(self.names)}"
            )
        return self


def _steps(params: Params) -> tuple[Params, ...]:
    """The same parameters with one file each."""
    names = params.names or tuple(file.stem for file in params.files)
    return tuple(
        params.model_copy(update={"files": (file,), "names": (name,)})
        for file, name in zip(params.files, names, strict=True)
    )


def _build(params: Params, pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    one = checkpoint.Params(
        layers=params.layers,
        preprocessing=params.preprocessing,
        overrides=params.overrides,
        architecture=params.architecture,
        library=params.library,
        file=params.files[-1],
        num_classes=params.num_classes,
        licence=params.licence,
        name=params.names[-1] if params.names else None,
    )
    return checkpoint.PLUGIN.build(one, pretrained)


def _called(params: Params) -> str:
    names = params.names or tuple(file.stem for file in params.files)
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"


def _files(params: Params) -> tuple[Path, ...]:
    return tuple(file for file in params.files if file.is_file())


PLUGIN = BackboneSource(
    title="checkpoints of a training",
    params_type=Params,
    build=_build,
    steps=_steps,
    called=_called,
    files=_files,
)
