"""One architecture at several points of its training, from local files."""

from __future__ import annotations

from pydantic import Field, model_validator

from bias_audit.backbones.loading import BackboneSource
from bias_audit.backbones.sources.checkpoint import ArchitectureParams, build_with, refilled_from
from bias_audit.config.schema import UserPath


class Params(ArchitectureParams):
    """An architecture, and the files that fill it, in the order of training."""

    files: tuple[UserPath, ...] = Field(
        min_length=2,
        description=".safetensors files, or what torch.save wrote, the earliest first.",
    )
    names: tuple[str, ...] | None = Field(
        default=None, description="For headings, one per file; default: the files' names."
    )

    @model_validator(mode="after")
    def _one_name_each(self) -> Params:
        if self.names is not None and len(self.names) != len(self.files):
            raise ValueError(
                f"names: expected {len(self.files)}, one for each file, got {len(self.names)}"
            )
        return self

    @property
    def own_names(self) -> tuple[str, ...]:
        """What each backbone is called."""
        return self.names or tuple(file.stem for file in self.files)


def _steps(params: Params) -> tuple[Params, ...]:
    """The same parameters with one file each."""
    return tuple(
        params.model_copy(update={"files": (file,), "names": (name,)})
        for file, name in zip(params.files, params.own_names, strict=True)
    )


PLUGIN = BackboneSource(
    title="checkpoints of a training",
    params_type=Params,
    build=lambda params, pretrained: build_with(
        params, params.files[-1], name=params.own_names[-1], pretrained=pretrained
    ),
    steps=_steps,
    called=lambda params: "-".join(dict.fromkeys((params.own_names[0], params.own_names[-1]))),
    files=lambda params: tuple(file for file in params.files if file.is_file()),
    refilled=lambda params, file: refilled_from(params, file, name=params.own_names[-1]),
)
