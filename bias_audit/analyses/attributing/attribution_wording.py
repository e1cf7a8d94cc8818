"""How attribution works and what it cannot say, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bias_audit.analyses.attributing.face_template import FaceTemplate
from bias_audit.analyses.attributing.methods import METHODS, MethodSettings
from bias_audit.analyses.attributing.questions import Decided
from bias_audit.analyses.attributing.trust import RULE


def method_of(
    decisions: Sequence[Decided], settings: MethodSettings, template: FaceTemplate
) -> tuple[str, ...]:
    """What was computed."""
    asked = "; ".join(f"{one.target}: {one.said} ({one.chosen})" for one in decisions)
    sources = "; ".join(f"{method.title}: {method.source}" for method in METHODS)
    regions = ", ".join(region.name for region in template.regions)
    return (
        f"What is attributed: {asked}. Backbone up to the layer, mean over positions, "
        "standardisation and probe are one differentiable function, and every image is attributed "
        "with the probe of the fold that did not see it.",
        f"Methods, as captum computes them: {sources}. Occlusion's window stands at "
        f"{settings.windows} places along each side; integrated gradients take {settings.steps} "
        "steps; what stands for nothing is the mean colour of the preprocessing. Modules that "
        "run twice or work in place are copied first, which changes no output.",
        "Absolute attributions are summed over colours and divided by their sum over the image, "
        "so that every image counts the same; maps are means over the images of a group, relative "
        "to an even spread. Only these sums are kept.",
        f"Regions come from a fixed template of aligned faces ({regions}; the rest is outside the "
        "face, by quarters of the image), drawn as an outline. Shares are means over images with "
        "intervals from the influence of each cluster of images; methods are averaged image by "
        "image, over those that pass the sanity check.",
        f"Sanity check by model randomisation (Adebayo et al. 2018, arXiv:1810.03292): {RULE} "
        "Deletion and insertion after Petsiuk et al. 2018 (arXiv:1806.07421); infidelity and "
        "sensitivity after Yeh et al. 2019 (arXiv:1901.09392), by captum.metrics.",
    )


def limits_of(methods: Collection[str]) -> tuple[str, ...]:
    """What attributions cannot say."""
    own = "; ".join(f"{m.title}: {m.limits}" for m in METHODS if m.name in methods)
    return (
        "An attribution says which pixels a score depends on by one method's definition, not why, "
        "and not what a person would see there.",
        f"Known limits of the methods: {own}.",
        "The template is the same for all faces; where faces are turned, or alignment failed, "
        "regions hold other parts.",
        "Groups are compared as they are: a difference may come from their composition by other "
        "attributes, from hair style, glasses or background as well as from the face.",
        "Intervals hold the backbone and its probes fixed.",
    )
