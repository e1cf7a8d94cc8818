"""Trains the small network of the config training_quickstart, far beyond its best checkpoint.

`PYTHONPATH=. python scripts/train_rendered_ages.py [FOLDER]` writes its checkpoints, by default
where the package has them. Two runs on one machine give the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bias_audit.activations.decode import decoded_batches
from bias_audit.backbones.loading import load_backbone
from bias_audit.backbones.sources import timm as timm_source
from bias_audit.config.load import load_config
from bias_audit.data.faces import FaceTable
from bias_audit.data.sources import parametric

SEED: Final = 20260
BATCH: Final = 24
RATE, DECAY = 1e-3, 1e-4
"""Of AdamW."""
EPOCHS: Final = (0, 5, 12, 25, 80)
"""After which there is a checkpoint."""
TASK: Final = "age"


def main(folder: Path) -> None:
    """Train on the faces of split train, and print the loss there and on split test."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    config = load_config(Path("training_quickstart")).backbones[0].params
    settings = {"size": config["preprocessing"]["size"]}
    params = timm_source.Params.model_validate(
        {"name": config["preprocessing_of"], "preprocessing": settings}
    )
    backbone = load_backbone("timm", timm_source.PLUGIN, params, pretrained=False)
    preprocessing = backbone.preprocessing

    def faces_of(split: parametric.Split) -> tuple[Tensor, Tensor]:
        table = parametric.read(parametric.Params(split=split))
        batches = decoded_batches(table.references, preprocessing, batch_size=BATCH, workers=1)
        pixels = torch.from_numpy(np.concatenate([each for _, each in batches]))
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        images = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
        return images, torch.from_numpy(_labels(table))

    train, test = faces_of("train"), faces_of("test")
    torch.manual_seed(SEED)  # noqa: TID251  layers draw their weights from the global generator
    module = timm.create_model(config["architecture"], num_classes=config["num_classes"])
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY)
    rng = np.random.default_rng(SEED)
    for epoch in range(max(EPOCHS) + 1):
        if epoch in EPOCHS:
            name = f"epoch-{epoch:02}"
            _save(module, folder / f"{name}.safetensors")
            losses = " and ".join(f"{_loss(module, *faces):.3f}" for faces in (train, test))
            sys.stdout.write(f"{name}: loss on train and test {losses}\n")
        module.train()
        order = torch.from_numpy(rng.permutation(len(train[1])))
        for chosen in order.split(BATCH):
            optimiser.zero_grad()
            cross_entropy(module(train[0][chosen]), train[1][chosen]).backward()
            optimiser.step()


def _labels(table: FaceTable) -> np.ndarray:
    column = [attribute.name for attribute in table.attributes].index(TASK)
    return table.codes[:, column].copy()


def _save(module: nn.Module, file: Path) -> None:
    """Matrices at half precision, which is as good and half as large."""
    state = module.state_dict()
    save_file({n: t.half() if t.ndim > 1 else t.clone() for n, t in state.items()}, file)


def _loss(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    module.eval()
    with torch.no_grad():
        return cross_entropy(module(images), labels).item()


if __name__ == "__main__":
    here = Path(parametric.__file__).parents[2] / "backbones" / "rendered_ages"
    main(Path(sys.argv[1]) if sys.argv[1:] else here)
