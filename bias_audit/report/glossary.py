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
        "A p-value made larger because many questions were asked at once, so that asking often "
        "does not make chance look like a finding.",
        r"adjusted p(?:-values?)?|adjusted",
    ),
    Term(
        "alpha",
        "The share of false alarms that was accepted beforehand, such as 0.05: one in twenty.",
    ),
    Term("annotated", "As the dataset's label says; not a fact about the person shown."),
    Term("attribute", "What the labels record about a face, with its levels, such as age."),
    Term(
        "attribution",
        "How much each place of an image counts for a decision, by the definition of one method.",
    ),
    Term(
        "AUC",
        "How often, of two images of different levels, the right one is ranked higher. 0.5 is "
        "guessing, 1 is always.",
    ),
    Term("backbone", "The trained network that is examined; it turns an image into numbers."),
    Term(
        "balanced accuracy",
        "The share of images whose level is predicted rightly, each level counting the same.",
    ),
    Term(
        "baseline",
        "The same procedure on something that holds less: shuffled labels, a network with random "
        "weights, plain pixels. A layer must show more than these do.",
        r"baselines?|controls?",
    ),
    Term(
        "Benjamini-Hochberg",
        "A rule for many tests that limits the share of false alarms among what is reported.",
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
    Term("chance", "What would come out if predictions did not depend on the image; guessing."),
    Term(
        "classification layer",
        "The last step of a backbone, which makes its own decisions from the activations.",
    ),
    Term(
        "cluster",
        "Images that are kept together because they show one person or are nearly the same; on "
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
        "A claim with a margin, written down before the results were known.",
        r"criteri(?:on|a)",
    ),
    Term("dendrogram", "A tree in which groups that join low are alike."),
    Term("difference map", "A map of where in a layer two groups give different activations."),
    Term(
        "effective number of clusters",
        "As many clusters of equal size would be worth as much: a few large clusters among many "
        "small ones are worth few.",
        r"effective (?:number of )?clusters",
    ),
    Term(
        "erasure",
        "Removing from activations whatever a straight-line rule could read about an attribute.",
        r"erasure|erased?|LEACE",
    ),
    Term(
        "estimate",
        "The value measured on these images; the true value lies near it, see interval.",
    ),
    Term(
        "false discovery rate",
        "The share of false alarms among what is reported.",
        r"false discover(?:y rate|ies)|FDR",
    ),
    Term(
        "family",
        "Questions that were declared together and are adjusted together.",
        r"famil(?:y|ies)|family-wise",
    ),
    Term(
        "fold",
        "One part of the images; a probe is fitted on some parts and asked about another.",
        r"folds?|out of fold|out-of-fold",
    ),
    Term(
        "gate",
        "A family is tested only if something was found in the one before it.",
        r"gates?|gatekeeping",
    ),
    Term("group", "Faces whose labels share one or more levels."),
    Term(
        "Holm", "A rule for many tests that limits the chance of any false alarm.", r"Holm(?:'s)?"
    ),
    Term("intersection", "A group by several attributes at once, such as an age and a gender."),
    Term(
        "interval",
        "The range in which the true value lies in 95 of 100 such audits (or as many as are "
        "said). The wider it is, the less is known.",
    ),
    Term("layer", "One step of a backbone; later layers see the image more abstractly."),
    Term("layout", "The places at which a layer's units are drawn on a map."),
    Term(
        "level",
        "One value of an attribute; of an interval, how often such intervals hold the true value.",
    ),
    Term("lift", "The value measured, minus that of the strongest baseline."),
    Term(
        "linearly decodable",
        "A weighted sum of activations tells the levels apart better than guessing and than "
        "every baseline.",
        r"linearly decodable|linear decodability|decodab\w+",
    ),
    Term("macro", "The plain mean over levels, whatever their numbers of images."),
    Term("main effect", "What one attribute does whatever the levels of the others."),
    Term("margin", "The border that a criterion sets: at most, at least, or within."),
    Term(
        "max-T",
        "A rule for many tests that compares each with the strongest that chance gives anywhere.",
        r"max-T",
    ),
    Term("n", "The number of independent images behind a value.", r"n = ?"),
    Term("one-vs-rest", "One level against all others together."),
    Term(
        "p-value",
        "How often chance alone would give at least as strong a result. Small is strong evidence; "
        "large is no evidence of the contrary.",
        r"p-values?|p [=<]",
    ),
    Term("percentile", "The value below which such a share of repetitions lies."),
    Term(
        "permutation",
        "Dealing labels anew at random, to see what chance gives.",
        r"permutations?|permuting|permuted",
    ),
    Term("power", "How often a real difference of a given size would be found."),
    Term(
        "probe",
        "A simple rule (a weighted sum) fitted to read an attribute from activations, and asked "
        "about images that it has not seen.",
    ),
    Term("profile", "The mean activation of each unit over the images of a group."),
    Term("recall", "Of the images of a group, the share that is predicted rightly."),
    Term(
        "relative entropy",
        "How unlike two distributions are; 0 is the same.",
        r"relative entrop(?:y|ies)",
    ),
    Term(
        "sanity check",
        "Whether a method's maps change when all that the network has learned is lost; if they do "
        "not, they do not show it.",
    ),
    Term("seed", "The starting number of random draws; the same seed gives the same draws."),
    Term("SHA-256", "A fingerprint of data: other data give another one."),
    Term(
        "shrunk",
        "Drawn towards what the attributes of a small group predict, since few images alone are "
        "unreliable.",
        r"shrunk|shrinkage|shrink",
    ),
    Term("standard deviation", "The usual distance of single values from their mean."),
    Term(
        "suppressed", "Not printed, since too few images stand behind it.", r"suppress(?:ed|ion)?"
    ),
    Term(
        "t-SNE, UMAP, PCA", "Published ways of placing units on a plane.", r"t-SNE|tsne|UMAP|PCA"
    ),
    Term("unit", "One of the numbers that a layer gives, averaged over the image."),
    Term("variance", "The mean squared distance of values from their mean; how much they differ."),
    Term("verdict", "PASS, FAIL or INCONCLUSIVE: what became of a criterion."),
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
