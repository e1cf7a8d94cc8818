"""From the tensors of a file to the weights of an architecture, with every choice on record."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bias_audit.backbones.loading import Architecture, Converter, Fit, Tensors
from bias_audit.backbones.weight_files import Nests, read_tensors
from bias_audit.config.catalog import first_names
from bias_audit.deferred import torch
from bias_audit.errors import BackboneError, some

if TYPE_CHECKING:
    from torch import Tensor, nn

_PREFERRED: Final = re.compile(r"(^|[._])(ema|swa|averaged|teacher|target_encoder)([._]|$)")
"""Weights that their training evaluates, where others lie beside them: averages over steps (timm,
YOLO), and the teacher of a self-distillation (DINO)."""
_PASSED_OVER: Final = re.compile(
    r"(^|[._])(student|momentum|encoder_k|key_encoder|optimizer|exp_avg|ema_state_dict)([._]|$)"
)
"""MMEngine keeps in `ema_state_dict` what was not averaged."""
_WRAPPERS: Final = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""What PyTorch puts around parts of a module, anywhere in a name."""
_COUNTER: Final = "num_batches_tracked"
_MOST_PARTS: Final = 12
_HALF: Final = 0.5
_VISION: Final = "visual."
_RIVAL: Final = 0.9
"""Share of the best fit from which on another part of a file counts as a choice."""
_COMMON: Final = 0.1
"""Share of a part's names that must share a prefix for it to be tried."""
_SEPARATOR: Final = "."


@dataclass(frozen=True)
class Wanted:
    """Where in a file the weights are, as far as a config says so."""

    key: str | None = None
    """Of a nest, with dots between levels: "model_ema", "model.state_dict"."""
    prefix: str | None = None
    """Of the names: "module.encoder_q."."""


@dataclass(frozen=True)
class _Part:
    """Tensors below one key whose names share a prefix."""

    key: str
    prefix: str
    tensors: Tensors
    """Without the prefix."""
    converted: Tensors
    hits: int
    """Of entries of the module, counters aside, that have a tensor of the same name and shape."""
    named: int
    """The same, whatever the shape."""
    is_unwrapped: bool
    """Whether wrappers were taken out of names."""
    learnt: int
    """Those of the hits that are learnt, and so in every copy."""

    @property
    def rank(self) -> tuple[float, ...]:
        """Higher is better: fit, then what its training evaluates, then the least removed."""
        where = f"{self.key}.{self.prefix}".lower()
        liked = bool(_PREFERRED.search(where)) - 2 * bool(_PASSED_OVER.search(where))
        return (self.hits, self.named, liked, -len(self.prefix), -len(self.key))

    @property
    def place(self) -> str:
        """Where it lies, in words."""
        parts = [f"key {self.key!r}"] if self.key else []
        parts += [f"prefix {self.prefix!r}"] if self.prefix else []
        return " and ".join(parts) or "the top of the file"


def fill_from(file: Path, architecture: Architecture, wanted: Wanted = Wanted()) -> Fit:
    """Put the weights of a file, which is not trusted, into the module of an architecture.

    The nest and the prefix under which most names fit are found, unless the config names them;
    the library's own conversion is applied before names are compared.

    Raises:
        BackboneError: The file cannot be read, no name fits, or it is quantised to integers.
    """
    nests, kind = read_tensors(file)
    where = f"weights file {file} in {architecture.title}"
    parts = list(_parts(nests, architecture, wanted, where))
    best = max(parts, key=lambda part: part.rank)
    if not best.named:
        names = max((list(part.tensors) for part in parts), key=len)
        raise BackboneError(
            f"{where}: none of its {len(names)} names fits the architecture, which has names like "
            f"{first_names(architecture.module.state_dict(), 3)}; the file has "
            f"{first_names(names, 3)}; check the architecture, or name key and prefix"
        )
    fit = _filled(architecture.module, best.converted, where)
    assumed: tuple[str, ...] = ()
    if rivals := list(_rivals(best, parts)):
        assumed = (
            f"the file contains several sets of weights that fit: {best.place} was used, not "
            f"{some([part.place for part in rivals], '; ')}; name another with key or "
            "prefix",
        )
    return dataclasses.replace(fit, reading=(kind, *_reading(best, fit)), assumed=assumed)


def _filled(module: nn.Module, tensors: Tensors, where: str) -> Fit:
    own = module.state_dict()
    common = [name for name in own if name in tensors]
    integers = [
        name
        for name in common
        if own[name].is_floating_point()
        and not tensors[name].is_floating_point()
        and not tensors[name].is_quantized
    ]
    if integers:
        kinds = ", ".join(sorted({_dtype(tensors[name]) for name in integers}))
        raise BackboneError(
            f"{where}: expected weights that are not quantised, got {len(integers)} stored as "
            f"{kinds} ({first_names(integers)}), without scales that turn them into numbers"
        )
    misshapen = {
        name: f"expected {tuple(own[name].shape)}, got {tuple(tensors[name].shape)}"
        for name in common
        if own[name].shape != tensors[name].shape
    }
    fitting = OrderedDict(
        (n, tensors[n].dequantize() if tensors[n].is_quantized else tensors[n])
        for n in common
        if n not in misshapen
    )
    # Versions of its modules, without which some (MNASNet) load nothing.
    fitting._metadata = getattr(own, "_metadata", {})  # type: ignore[attr-defined]
    module.load_state_dict(fitting, strict=False)
    return Fit(
        missing=tuple(name for name in own if name not in tensors),
        unexpected=tuple(name for name in tensors if name not in own),
        misshapen=misshapen,
    )


def _reading(part: _Part, fit: Fit) -> Iterator[str]:
    """What was chosen, removed and converted."""
    if part.key:
        yield f"tensors below key {part.key!r}"
    if part.prefix:
        yield f"prefix {part.prefix!r} removed from names"
    if part.is_unwrapped:
        yield "wrappers of PyTorch taken out of names"
    if part.converted.keys() != part.tensors.keys():
        yield "names converted by the library of the architecture"
    counts = Counter(
        _dtype(tensor)
        for name, tensor in part.converted.items()
        if name not in fit.unexpected and (tensor.is_floating_point() or tensor.is_quantized)
    )
    if set(counts) - {"float32"}:
        kinds = ", ".join(f"{kind} ({count} tensors)" for kind, count in counts.most_common())
        yield f"stored as {kinds}, computed as float32"


def _parts(
    nests: Nests, architecture: Architecture, wanted: Wanted, where: str
) -> Iterator[_Part]:
    """Every part of a file that may be the weights, or the one that the config names."""
    if wanted.key is not None:
        inside = f"{wanted.key}{_SEPARATOR}"
        below = {k: v for k, v in nests.items() if k == wanted.key or k.startswith(inside)}
        if not below:
            raise BackboneError(
                f"{where}: expected tensors below key {wanted.key!r}, got "
                f"{first_names(filter(None, nests)) or 'no key'}; correct or remove "
                "the key"
            )
        nests = below
    state = architecture.module.state_dict()
    shapes = {name: tensor.shape for name, tensor in state.items() if _COUNTER not in name}
    learnt = {name for name, _ in architecture.module.named_parameters()}
    largest = max(len(tensors) for tensors in nests.values())
    for key, tensors in nests.items():
        if len(tensors) < min(_COMMON * largest, _HALF * len(shapes)):
            continue  # such as the state of an optimiser, a few tensors for each parameter
        for prefix in _prefixes(tensors, len(shapes), wanted, where):
            wrapped = {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix) and name != prefix
            }
            inner = {_WRAPPERS.sub("", name): tensor for name, tensor in wrapped.items()}
            converted = _converted(inner, shapes, architecture.convert)
            named = [name for name in shapes if name in converted]
            hits = {name for name in named if converted[name].shape == shapes[name]}
            yield _Part(
                key=key,
                prefix=prefix,
                tensors=inner,
                converted=converted,
                hits=len(hits),
                named=len(named),
                learnt=len(hits & learnt),
                is_unwrapped=inner.keys() != wrapped.keys(),
            )


def _converted(tensors: Tensors, shapes: Mapping[str, torch.Size], convert: Converter) -> Tensors:
    """As the library renames them; the vision tower of a pair may have lost its prefix."""
    for given in (tensors, {f"{_VISION}{name}": tensor for name, tensor in tensors.items()}):
        try:
            converted = convert(given)
        except Exception:  # noqa: BLE001  it may fail in any way on what it is not made for
            continue
        if converted.keys() & shapes.keys():
            return converted
    return tensors


def _prefixes(tensors: Tensors, n_wanted: int, wanted: Wanted, where: str) -> list[str]:
    """Beginnings that many names share, at their dots; the empty one first."""
    counts: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(_SEPARATOR, _MOST_PARTS)[:-1]
        counts.update(
            _SEPARATOR.join(parts[:length]) + _SEPARATOR for length in range(1, len(parts) + 1)
        )
    if wanted.prefix is not None:
        if f"{wanted.prefix}{_SEPARATOR}" in counts:
            return [f"{wanted.prefix}{_SEPARATOR}"]
        if wanted.prefix and not any(name.startswith(wanted.prefix) for name in tensors):
            common = [prefix for prefix, _ in counts.most_common()]
            raise BackboneError(
                f"{where}: expected names that begin with {wanted.prefix!r}, got such as "
                f"{first_names(common or tensors)}; correct or remove the prefix"
            )
        return [wanted.prefix]
    enough = min(_COMMON * len(tensors), _HALF * n_wanted)
    return ["", *(prefix for prefix, n in counts.items() if n >= enough)]


def _rivals(best: _Part, parts: Iterable[_Part]) -> Iterator[_Part]:
    """Other parts of a file that fit about as well and have other numbers."""
    seen = [best]
    for part in sorted(parts, key=lambda part: part.rank, reverse=True):
        if (
            part.learnt >= _RIVAL * best.learnt
            and part.learnt
            and not any(_same(part, other) for other in seen)
        ):
            seen.append(part)
            yield part


def _same(one: _Part, other: _Part) -> bool:
    """Whether one part lies within the other, or repeats its numbers."""
    places = [{t.data_ptr() for t in part.tensors.values() if t.numel()} for part in (one, other)]
    return (
        places[0] <= places[1]
        or places[1] <= places[0]
        or all(
            name in other.tensors
            and tensor.dtype == other.tensors[name].dtype
            and torch.equal(tensor, other.tensors[name])
            for name, tensor in one.tensors.items()
        )
    )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
