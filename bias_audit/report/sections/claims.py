"""What every report can and cannot say, whatever an audit found."""

from __future__ import annotations

from typing import Final

from markupsafe import Markup

CLAIMS: Final = (
    (
        "Encoding is not use.",
        "The report shows what can be read from the activations of a backbone. It does not show "
        "that any decision uses it.",
    ),
    (
        "Use is not harm.",
        "Whether a system built on this backbone harms anyone depends on its task, its data and "
        "its use. None of these was examined.",
    ),
    (
        "Labels are annotations.",
        Markup(
            "An attribute of a face is what its source recorded; how that came about is under "
            '<a href="#data">Data</a>. It need not agree with how the people shown describe '
            "themselves. Categories differ between datasets, and numbers from different datasets "
            "cannot be compared level by level."
        ),
    ),
    (
        "“Not shown” is not “not there”.",
        "An interval that includes chance leaves the question open. A probe that is not linear "
        "might read more.",
    ),
    (
        "Estimates are uncertain.",
        "Each comes with an interval, and the number of images it rests on is given. Maps, heat "
        "maps and what is expected by chance have no interval. Numbers from few images are weak "
        "evidence in either direction.",
    ),
    (
        "No judgement about people.",
        "Results are aggregates over groups of images. They must not be used to categorise a "
        "person.",
    ),
    ("Not a legal assessment.", "Nothing here certifies a system, or says whether a law is kept."),
)
"""Each with the words that it begins with."""
NEVER_MEASURED: Final = (
    (
        "Selection rates:",
        "how often a system chooses people of each group. So this is no bias audit as New York "
        "City Local Law 144 asks for.",
    ),
    (
        "Match rates:",
        "how often two images are taken for one person. So nothing follows about conformity with "
        "ISO/IEC 19795-10.",
    ),
    (
        "Errors and harms of a system",
        "built on the backbone, and what its users do with its output.",
    ),
    ("Other images:", "other cameras, places and people than those of the dataset."),
)
