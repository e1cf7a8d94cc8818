"""When something was, and how long it took or will take: the one way to write it for readers."""

from __future__ import annotations

from datetime import datetime


def duration(seconds: float) -> str:
    """Such as "45 s", "12 min 5 s" or "2 h 3 min"."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def written_date(started: str) -> str:
    """ISO 8601 as a reader writes it, such as "21 November 2026, 06:06 UTC"."""
    moment = datetime.fromisoformat(started)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
