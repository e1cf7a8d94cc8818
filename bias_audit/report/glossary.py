"""The terms a report uses, in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Final

from bias_audit.report.figures.saving import FigureView
from bias_audit.report.page import Fact


@dataclass(frozen=True)
class Term:
    """A word and what it means in these reports."""

    name: str
    meaning: str
    """One or two sentences without further terms that need explaining, where that can be."""
    forms: str = ""
    """A regular expression for how texts write it; default: the name and its plural."""

    def occurs_in(self, text: str) -> bool:
        """Whether a text uses the term."""
        forms = self.forms or rf"{re.escape(self.name)}s?"
        return re.search(rf"(?<!\w)(?:{forms})(?!\w)", text, flags=re.IGNORECASE) is not None


TERMS: Final = (
    Term("activation", "The number that a unit gives for one image."),
    Term(
        "adjusted p-value",
        "A p-value made larger because many tests were made at once, so that chance alone does "
        "not look like a finding.",
        r"adjusted p(?:-values?)?|adjusted",
    ),
    Term(
        "alpha",
        "The share of false alarms that was accepted beforehand, such as 0.05: one test in "
        "twenty where there is nothing to find.",
    ),
    Term("annotated", "As the label in the dataset says; not a fact about the person shown."),
    Term(
        "attribute",
        "What the labels record about a face, such as age or gender; it divides faces into "
        "groups.",
    ),
    Term(
        "attribution",
        "How much each place of an image counts for a decision, by the definition of one method.",
    ),
    Term(
        "AUC",
        "Of 100 pairs of faces, one from the group and one not, a probe with AUC 0.98 ranks 98 "
        "correctly. 0.5 is guessing, 1 is always right.",
    ),
    Term("backbone", "The trained network that is examined; it turns an image into numbers."),
    Term(
        "balanced accuracy",
        "The share of images whose group is predicted correctly, each group counting the same "
        "however many images it has.",
    ),
    Term(
        "baseline",
        "The same procedure on something that contains less: shuffled labels, a network with "
        "random weights, plain pixels. A layer must show more than these do.",
        r"baselines?|controls?",
    ),
    Term(
        "Benjamini-Hochberg",
        "A rule for many tests: on average, no more than the agreed share of what it reports are "
        "false alarms.",
    ),
    Term(
        "bits",
        "How much is learned about an attribute: one bit answers one yes-or-no question of even "
        "odds.",
        r"bits?",
    ),
    Term(
        "bootstrap",
        "Repeating a calculation on images drawn again from the same images, to see how far a "
        "number could have come out otherwise.",
    ),
    Term(
        "calibration error",
        "How far confidence typically lies from the share of right answers among faces with that "
        "confidence. 0: of 100 faces with 80 % confidence, 80 are right.",
    ),
    Term("chance", "What would come out if predictions did not depend on the image; guessing."),
    Term(
        "classification layer",
        "The last step of a backbone, which makes its own decisions from the activations.",
    ),
    Term(
        "cluster",
        "Images that count together because they show one person or are nearly the same; on "
        "maps, neighbouring units that differ in the same way.",
    ),
    Term(
        "concentration",
        "How unevenly a group's images spread over a map, beyond chance.",
        r"concentrations?|concentrated",
    ),
    Term(
        "confusion",
        "An image of one group that is predicted to be of another.",
        r"confusions?|confused",
    ),
    Term("correlation", "How closely two numbers move together: 1 fully, 0 not at all."),
    Term(
        "criterion",
        "A claim with an acceptance threshold, written down before the results were known, such "
        "as AUC at most 0.6.",
        r"criteri(?:on|a)",
    ),
    Term("dendrogram", "A tree of groups; those that join low are alike."),
    Term("difference map", "A map of where in a layer two groups give different activations."),
    Term(
        "effective number of clusters",
        "The number of clusters of equal size that would give as much information: a few large "
        "clusters among many small ones count as few.",
        r"effective (?:number of )?clusters",
    ),
    Term(
        "erasure",
        "Removing from activations whatever a linear probe could read about an attribute.",
        r"erasure|erased?|LEACE",
    ),
    Term(
        "estimate",
        "The value measured on these images; the true value lies near it, see interval.",
    ),
    Term(
        "false discovery rate",
        "The expected share of false alarms among what is reported.",
        r"false discover(?:y rate|ies)|FDR",
    ),
    Term(
        "family",
        "Tests that were declared together and are adjusted together.",
        r"famil(?:y|ies)|family-wise",
    ),
    Term(
        "fold",
        "One part of the images; a probe is fitted to the other parts and tested on this one.",
        r"folds?|out of fold|out-of-fold",
    ),
    Term(
        "gate",
        "A rule by which a family is tested only if a test in the one before it was significant.",
        r"gates?|gatekeeping",
    ),
    Term(
        "group",
        "Faces with the same label, such as women, or the same labels of several attributes, "
        "such as women of 20 to 29.",
    ),
    Term(
        "Holm",
        "A rule for many tests that limits the chance of even one false alarm.",
        r"Holm(?:'s)?",
    ),
    Term("intersection", "A group by several attributes at once, such as an age and a gender."),
    Term(
        "interval",
        "A range around the value. In about 95 of 100 such audits it contains the true value "
        "(for a 95 % interval). The wider it is, the less is known.",
    ),
    Term("layer", "One step of a backbone; later layers see the image more abstractly."),
    Term("layout", "The places at which a layer's units are drawn on a map."),
    Term(
        "level",
        "Of an interval, how often such intervals contain the true value; of an attribute, one "
        "of its values.",
    ),
    Term("lift", "The value measured minus that of the strongest baseline."),
    Term(
        "linearly decodable",
        "A linear probe reads the attribute from the activations significantly better than "
        "guessing and than every baseline.",
        r"linearly decodable|linear decodability|decodab\w+",
    ),
    Term("macro", "The plain mean over groups, whatever their numbers of images."),
    Term("main effect", "What one attribute does on its own, averaged over the others."),
    Term("margin", "The threshold that a criterion sets: at most, at least, or within."),
    Term(
        "max-T",
        "A rule for many tests that compares each result with the strongest that chance gives in "
        "any of them.",
        r"max-T",
    ),
    Term(
        "n",
        "The number of independent images behind a value; images of one person count once.",
        r"n = ?",
    ),
    Term("one-vs-rest", "One group against all others together."),
    Term(
        "over-confidence",
        "Mean confidence minus the share of right answers: 0.4 is a network that says 85 % and is "
        "right for 45 of 100 faces. Below 0, it is right more often than it says.",
        r"over-confiden(?:ce|t)",
    ),
    Term(
        "p-value",
        "How often chance alone would give a result at least as strong. A small one is strong "
        "evidence of a difference; a large one is not evidence of no difference.",
        r"p-values?|p [=<]",
    ),
    Term("percentile", "The value below which such a share of repetitions lies."),
    Term(
        "permutation",
        "Shuffling labels at random, to see what chance gives.",
        r"permutations?|permuting|permuted",
    ),
    Term("power", "How often an audit would find a real difference of a given size."),
    Term(
        "probe",
        "A simple rule (a weighted sum) fitted to read an attribute from activations, and tested "
        "on images that it has not seen.",
    ),
    Term("profile", "The mean activation of each unit over the images of a group."),
    Term("recall", "Of 100 images of a group, recall 0.9 means that 90 are predicted correctly."),
    Term(
        "relative entropy",
        "How different two distributions are; 0 is the same.",
        r"relative entrop(?:y|ies)",
    ),
    Term(
        "sanity check",
        "A test of whether a method's maps change when all that the network has learned is lost; "
        "if they do not, the maps do not show what it learned.",
    ),
    Term("seed", "The starting number of random draws; the same seed gives the same draws."),
    Term("SHA-256", "A fingerprint of data: other data give another one."),
    Term(
        "stabilised",
        "Pulled towards what the attributes of a group predict when its images are "
        "few, because few images alone are unreliable.",
        r"shrunk|shrinkage|shrink|stabilised",
    ),
    Term("standard deviation", "The usual distance of single values from their mean."),
    Term(
        "suppressed",
        "Not printed, because it would rest on too few images.",
        r"suppress(?:ed|ion)?",
    ),
    Term(
        "t-SNE, UMAP, PCA", "Published ways of placing units on a plane.", r"t-SNE|tsne|UMAP|PCA"
    ),
    Term(
        "temperature",
        "One number that all class scores are divided by, so that confidence fits the share of "
        "right answers better. It never changes which class is the most probable.",
        r"temperatures?(?: scaling)?",
    ),
    Term("unit", "One of the numbers that a layer gives, averaged over the image."),
    Term("variance", "The mean squared distance of values from their mean; how much they differ."),
    Term(
        "verdict",
        "PASS, FAIL or INCONCLUSIVE: the numbers meet a criterion, miss it, or leave it open.",
    ),
    Term("weights", "The numbers that training set; they make the backbone what it is."),
)
"""In the order in which a reader looks them up."""
_FIXED = (
    "activation annotated attribute backbone group interval layer level probe estimate chance "
    "fold seed SHA-256 weights n = unit"
)
"""Terms that the sentences of the templates use in every report."""


def glossary(*sections: object) -> tuple[Fact, ...]:
    """The terms that any text of these sections uses, each with its meaning."""
    text = "\n".join((_FIXED, *(text for section in sections for text in texts(section))))
    return tuple(Fact(term.name, (term.meaning,)) for term in TERMS if term.occurs_in(text))


def texts(part: object) -> Iterator[str]:
    """Every text that a part of a view prints; of figures, the words alone."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, FigureView):
        yield from (part.alt, part.caption)
    elif isinstance(part, tuple | list):
        for each in part:
            yield from texts(each)
    elif is_dataclass(part):
        for field in fields(part):
            yield from texts(getattr(part, field.name))
