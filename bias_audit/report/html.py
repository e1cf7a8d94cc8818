"""The report as one HTML document."""

from __future__ import annotations

from typing import Literal

import bias_audit
from bias_audit.report.resources import template_engine
from bias_audit.report.view import AuditView

Medium = Literal["screen", "paper"]


def html(view: AuditView, *, medium: Medium) -> str:
    """Fill the templates.

    Args:
        view: What to print.
        medium: "screen" folds long tables away; "paper" prints them open, or an excerpt.
    """
    return (
        template_engine()
        .get_template("audit.html")
        .render(audit=view, medium=medium, version=bias_audit.__version__)
    )
