"""Classes of a backbone that embeds images beside texts: one declared text or vector for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from bias_audit.backbones.head import Classes
from bias_audit.config.catalog import first_names
from bias_audit.config.schema import Strict, UserPath
from bias_audit.deferred import torch
from bias_audit.errors import BackboneError
from bias_audit.files import sha256_of

if TYPE_CHECKING:
    from torch import Tensor, nn

EmbedTexts: TypeAlias = "Callable[[Sequence[str]], Tensor]"
"""Embeddings of texts, shape (n_texts, n_units); raises BackboneError."""
_HEAD = "zero_shot"
_FEWEST = 2


class ZeroShot(Strict):
    """Classes by texts: an image belongs to the class whose text is nearest by cosine."""

    prompts: dict[str, tuple[str, ...]] | None = Field(
        default=None,
        description="Texts of each class, whose normalised embeddings are averaged, such as "
        '{smiling: ["a photo of a smiling person"]}; needs the text tower.',
    )
    embeddings: UserPath | None = Field(
        default=None,
        description="Embeddings of texts in place of prompts: .safetensors with one tensor for "
        "each class, or .npy of shape (classes, units).",
    )
    classes: tuple[str, ...] = Field(
        default=(), description="Names of the rows of a .npy file, or an order for other files."
    )
    scale: float = Field(
        default=100.0,
        gt=0,
        description="Factor of cosines before they are scores (CLIP's logit scale): it decides "
        "confidences, not which class wins.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> ZeroShot:
        if (self.prompts is None) == (self.embeddings is None):
            raise ValueError("expected either prompts or embeddings")
        return self


def add_zero_shot(
    module: nn.Module, wanted: ZeroShot, embed_texts: EmbedTexts | None
) -> tuple[Classes, str]:
    """Make a module return scores of classes, by a linear layer `zero_shot` behind its output.

    The layer receives the normalised embedding of an image; its weights are the normalised
    embeddings of texts times the scale (Radford et al. 2021, arXiv:2103.00020).

    Returns:
        What the outputs mean, and where they come from, in words.

    Raises:
        BackboneError: The embeddings cannot be had, or there are fewer than two classes.
    """
    if wanted.embeddings is not None:
        vectors = _read(wanted.embeddings, wanted.classes)
        source = f"embeddings in {wanted.embeddings.name}, SHA-256 {sha256_of(wanted.embeddings)}"
    else:
        vectors = _embedded(wanted.prompts or {}, embed_texts)
        texts = [text for each in (wanted.prompts or {}).values() for text in each]
        source = f"{len(texts)} prompts such as {texts[0]!r}"
    if len(vectors) < _FEWEST:
        raise BackboneError(f"zero_shot: expected two classes or more, got {len(vectors)}")
    _refuse_equal(vectors)
    weight = (
        torch.nn.functional.normalize(torch.stack(list(vectors.values())), dim=1) * wanted.scale
    )
    head = torch.nn.Linear(weight.shape[1], len(weight), bias=False)
    head.load_state_dict({"weight": weight})
    module.add_module(_HEAD, head.requires_grad_(requires_grad=False))
    module.register_forward_hook(_scores)
    names = first_names(vectors)
    return Classes(len(vectors), f"zero_shot ({names})"), f"zero-shot classes {names}: {source}"


def _refuse_equal(vectors: dict[str, Tensor]) -> None:
    """Raise where no image could be nearer to one of two classes than to the other."""
    for (one, a), (two, b) in combinations(vectors.items(), 2):
        if torch.allclose(a / a.norm(), b / b.norm()):
            raise BackboneError(
                f"zero_shot: expected a text of its own for every class, got the same for {one!r} "
                f"and {two!r}; change one of them"
            )


def _scores(module: nn.Module, _inputs: object, embedding: Tensor) -> Tensor:
    head = module.get_submodule(_HEAD)
    n_units = head.get_parameter("weight").shape[1]
    if embedding.ndim != 2 or embedding.shape[1] != n_units:  # noqa: PLR2004
        raise BackboneError(
            f"zero_shot: expected embeddings of texts with the {embedding.shape[-1]} units of an "
            f"image's, got {n_units}; the texts have to be embedded by the same model"
        )
    scores: Tensor = head(torch.nn.functional.normalize(embedding, dim=1))
    return scores


def _embedded(
    prompts: dict[str, tuple[str, ...]], embed_texts: EmbedTexts | None
) -> dict[str, Tensor]:
    if embed_texts is None:
        raise BackboneError(
            "zero_shot.prompts: this source has no text tower; give embeddings of the prompts as "
            "a file (zero_shot.embeddings), or use kind: open_clip or transformers"
        )
    empty = [name for name, texts in prompts.items() if not texts]
    if empty:
        raise BackboneError(f"zero_shot.prompts: no text for {first_names(empty)}")
    return {
        name: torch.nn.functional.normalize(embed_texts(texts).float(), dim=1).mean(dim=0)
        for name, texts in prompts.items()
    }


def _read(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """One vector for each class; several rows of a class are averaged."""
    where = f"zero_shot.embeddings {path}"
    try:
        array = np.load(path, allow_pickle=False) if path.suffix == ".npy" else None
        from safetensors.torch import load_file  # noqa: PLC0415  loads torch

        found = load_file(path) if array is None else {}
    except Exception as error:  # what readers raise on arbitrary bytes is not bounded
        problem = "not found" if not path.is_file() else "neither .npy nor a safetensors file"
        raise BackboneError(f"{where}: {problem}") from error
    if array is not None:
        if array.ndim != 2 or len(array) != len(names):  # noqa: PLR2004
            raise BackboneError(
                f"{where}: expected one row for each of the {len(names)} names in "
                f"zero_shot.classes, got an array of shape {array.shape}"
            )
        found = dict(zip(names, torch.from_numpy(array).float(), strict=True))
    lacking = [name for name in names if name not in found]
    if lacking:
        raise BackboneError(
            f"{where}: no tensor for {first_names(lacking)}; it has {first_names(found)}"
        )
    vectors = {
        name: torch.nn.functional.normalize(each.float(), dim=1).mean(dim=0)
        if each.ndim == 2  # noqa: PLR2004
        else each.float()
        for name, each in ((name, found[name]) for name in (names or found))
    }
    sizes = {tuple(vector.shape) for vector in vectors.values()}
    if len(sizes) > 1 or any(each.ndim != 1 for each in vectors.values()):
        raise BackboneError(
            f"{where}: expected vectors of one length, or rows of such, got shapes "
            f"{sorted(tuple(each.shape) for each in found.values())}"
        )
    broken = [name for name, each in vectors.items() if not 0 < float(each.norm()) < math.inf]
    if broken:
        raise BackboneError(
            f"{where}: expected finite numbers that are not all zero, got others for "
            f"{first_names(broken)}"
        )
    return vectors
