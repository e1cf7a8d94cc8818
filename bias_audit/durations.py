"""How long something took or will take, for readers: the one way to write it."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Such as "45 s", "12 min 5 s" or "2 h 3 min"."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
