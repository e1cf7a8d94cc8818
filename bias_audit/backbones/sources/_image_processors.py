"""From an image processor of transformers to this project's preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from bias_audit.backbones.loading import Preprocessing, PreprocessingParams
from bias_audit.errors import BackboneError, some

_FILTERS: Final = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the filters that this project resizes with."""
_OTHERS: Final = {1: "lanczos", 4: "box", 5: "hamming"}
_DONE: Final = {"resize", "center_crop", "rescale", "normalize", "convert_rgb"}
_CHANNELS: Final = "flip_channel_order"
_OF_LABELS: Final = {"reduce_labels"}
_CONVNEXT_STRETCHES: Final = 384
"""Sides from which on ConvNeXt's processor stretches and does not crop."""
VERIFIED: Final = frozenset(
    f"{name}ImageProcessor"
    for name in """
    Beit Bit Blip CLIP ChineseCLIP ConvNext DeiT EfficientNet Levit MobileNetV1 MobileNetV2
    MobileViT PoolFormer Pvt Segformer Siglip ViT
    """.split()  # noqa: SIM905
)
"""Processors whose output was compared with this project's, pixel by pixel."""
_COMPLETE: Final = ("resize", "size", "mean", "std", "interpolation")


def preprocessing_of(
    processor: object | None, params: PreprocessingParams, *, where: str, usual_size: int | None
) -> tuple[Preprocessing, str]:
    """The preprocessing of a processor where the config does not declare its own, and whose it is.

    Args:
        processor: Of transformers; None where the model comes without one.
        params: What the config declares; a step that is declared is not read from the processor.
        where: The model, for messages.
        usual_size: Side of the input that the architecture was made for, if it says one.

    Raises:
        BackboneError: A step cannot be repeated, or is neither declared nor known.
    """
    declared = params.model_dump(exclude_none=True)
    if all(name in declared for name in _COMPLETE):  # each of these replaces what is here
        size, nothing = int(declared["size"]), ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        found = Preprocessing(size, size, "stretch", 1.0, "bilinear", *nothing)
        return found, "preprocessing as the config declares it"
    name = type(processor).__name__.removesuffix("Pil").removesuffix("Fast")
    known = {key: getattr(processor, key, None) for key in _KEYS}
    advice = f"declare all of preprocessing ({', '.join(_COMPLETE)}) in the config"
    if processor is None:
        raise BackboneError(
            f"{where}: found no preprocessor_config.json of transformers; {advice}"
        )
    if name not in VERIFIED:
        raise BackboneError(f"{where}: its image processor {name} was not verified; {advice}")
    refused = list(_refused(processor, declared))
    if refused:
        raise BackboneError(
            f"{where}: its image processor {name} does what cannot be repeated exactly: "
            f"{some(refused, '; ')}; {advice}"
        )
    return _translated(name, known, usual_size, where), f"preprocessing of its {name}"


_KEYS: Final = (
    *(f"do_{step}" for step in (*_DONE, _CHANNELS)),
    *("size", "crop_size", "crop_pct", "resample", "rescale_factor", "rescale_offset"),
    *("include_top", "image_mean", "image_std"),
)


def _refused(processor: object, declared: Mapping[str, Any]) -> Iterator[str]:
    """Steps of a processor that this project does not have."""
    for key in dir(processor):
        step = key.removeprefix("do_")
        is_known = step in _DONE | _OF_LABELS or step == _CHANNELS
        if key.startswith("do_") and not is_known and getattr(processor, key) is True:
            yield step.replace("_", " ")
    resample = getattr(processor, "resample", None)
    if "interpolation" not in declared and int(resample or 0) not in _FILTERS:
        yield f"interpolation by {_OTHERS.get(int(resample or 0), 'an unknown filter')}"
    if getattr(processor, "keep_aspect_ratio", False):
        yield "resizing to several shapes"


def _translated(
    name: str, known: Mapping[str, Any], usual_size: int | None, where: str
) -> Preprocessing:
    height, width, resize, fraction = _geometry(name, known, usual_size, where)
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if known.get("do_normalize"):
        mean, std = _three(known["image_mean"]), _three(known["image_std"])
    # A processor computes (pixel * factor - offset - mean) / std, this project
    # (pixel / 255 - mean') / std': both are the same with mean' and std' divided by 255 * factor.
    factor = 255.0 * (float(known["rescale_factor"]) if known.get("do_rescale") else 1.0)
    offset = 1.0 if known.get("rescale_offset") else 0.0
    if name == "EfficientNetImageProcessor" and known.get("include_top"):
        # It divides by the standard deviation twice, as the original of its weights does.
        red, green, blue = std
        std = (red * red, green * green, blue * blue)
    filters: Any = _FILTERS.get(int(known.get("resample") or 0), "bilinear")
    return Preprocessing(
        height,
        width,
        resize,
        fraction,
        filters,
        _three((m + offset) / factor for m in mean),
        _three(s / factor for s in std),
        "BGR" if known.get(f"do_{_CHANNELS}") else "RGB",
    )


def _geometry(
    name: str, known: Mapping[str, Any], usual_size: int | None, where: str
) -> tuple[int, int, Any, float]:
    """Height, width, way of resizing, and part of the resized shorter side that a crop keeps."""
    size, crop = _sides(known.get("size")), _sides(known.get("crop_size"))
    shortest = size.get("shortest_edge")
    resizes, crops = bool(known.get("do_resize")), bool(known.get("do_center_crop"))
    if not resizes and not crops:
        if usual_size is None:
            raise BackboneError(f"{where}: its images keep their size; declare preprocessing.size")
        return usual_size, usual_size, "stretch", 1.0
    if name == "ConvNextImageProcessor" and shortest:
        fraction = shortest / int(shortest / float(known["crop_pct"]))
        is_cropped = shortest < _CONVNEXT_STRETCHES
        return shortest, shortest, "crop" if is_cropped else "stretch", fraction
    if resizes and crops and crop.get("height"):
        height, width = crop["height"], crop["width"]
        if name == "PoolFormerImageProcessor" and known.get("crop_pct"):
            shortest = int((shortest or size.get("height", 0)) / float(known["crop_pct"]))
        elif name == "LevitImageProcessor" and shortest:
            shortest = int(256 / 224 * shortest)
        if shortest and height == width:
            return height, width, "crop", height / shortest
        if size == crop:
            return height, width, "stretch", 1.0
    if resizes and not crops and size.get("height"):
        return size["height"], size["width"], "stretch", 1.0
    raise BackboneError(
        f"{where}: its images are resized to {dict(size)}"
        f"{f' and cropped to {dict(crop)}' if crops else ''}, which gives no square centre of "
        f"one size; declare all of preprocessing ({', '.join(_COMPLETE)}) in the config"
    )


def _sides(size: object) -> dict[str, int]:
    """Such as {"height": 224, "width": 224} or {"shortest_edge": 224}."""
    if isinstance(size, int):
        return {"height": size, "width": size}
    pairs = dict(size).items() if isinstance(size, Mapping) else vars(size or object).items()
    return {str(key): int(value) for key, value in pairs if isinstance(value, int)}


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
