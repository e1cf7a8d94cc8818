"""The shape of an audit config. Unknown keys are refused everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Strict(BaseModel):
    """Frozen, with unknown keys refused; the base of every config section and plugin's params."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def _expand(value: object) -> object:
    if not isinstance(value, str):
        return value
    if "\0" in value:
        raise ValueError("expected a path, which cannot hold a null character")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # pydantic reports a ValueError with the key it stands at
        raise ValueError(f"{error}; write the folder out") from error


UserPath = Annotated[Path, BeforeValidator(_expand)]
"""A path as users write it: "~" is their home, relative means from the current folder."""


class Component(BaseModel):
    """A plugin by kind, with its parameters beside it; the plugin's own model checks those."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = Field(description="Name of a module in the plugin's folder.")

    @property
    def params(self) -> dict[str, Any]:
        """Everything but the kind."""
        return dict(self.model_extra or {})


class Sampling(Strict):
    """How images are drawn from the source."""

    max_per_intersection: int | None = Field(
        default=None, ge=1, description="Draw at most this many images per intersection."
    )
    near_duplicates: bool = Field(
        default=True, description="Look for near duplicates and keep each set within one fold."
    )


class Activations(Strict):
    """How images pass through the backbone."""

    batch_size: int = Field(32, ge=1)
    workers: int = Field(2, ge=1, description="Threads that decode images.")
    device: str = Field("auto", description='"auto", "cpu", "cuda", "cuda:1", "mps".')
    positions: int = Field(
        0, ge=0, le=8, description="Also keep feature maps, averaged to at most this side; 0: no."
    )


class Output(Strict):
    """Where results go."""

    folder: UserPath | None = Field(None, description='Default: "runs/<name>".')
    cache: UserPath = Field(
        Path("runs/cache"), description="Activations, reused by later audits; safe to delete."
    )
    formats: tuple[Literal["html", "pdf"], ...] = ("html", "pdf")


class AuditConfig(Strict):
    """One audit: one dataset, one or more backbones, and the analyses of each."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    seed: int = Field(0, ge=0)
    data: Component
    sampling: Sampling = Sampling()
    backbones: tuple[Component, ...] = Field(min_length=1)
    activations: Activations = Activations()
    analyses: tuple[Component, ...] = Field(min_length=1)
    output: Output = Output()

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.output.folder or Path("runs") / self.name
