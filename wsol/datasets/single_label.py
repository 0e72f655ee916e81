"""One label an image, for datasets whose images show objects of several classes (VOC, COCO)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Policy = Literal["skip", "largest"]
POLICIES = ("skip", "largest")


def choose_label(labels: Sequence[int], areas: Sequence[float], policy: Policy) -> int | None:
    """The image's label, or None where it has to be left out.

    With one class among its objects that is the label. Otherwise `skip` leaves the image out, and `largest`
    takes the class of the largest object (the first of equals); boxes of other classes are then dropped.

    >>> choose_label([3, 3], [1, 2], "skip"), choose_label([3, 5], [1, 2], "largest")
    (3, 5)
    >>> choose_label([3, 5], [1, 2], "skip") is None
    True
    """
    if not labels:
        return None
    if len(set(labels)) == 1:
        return labels[0]
    return None if policy == "skip" else labels[max(range(len(labels)), key=lambda i: (areas[i], -i))]


def left_out_note(role: str, several: int, none: int, policy: Policy) -> list[str]:
    """What a manifest says of the images that it does not hold, or holds with fewer boxes."""
    notes = []
    if several:
        what = (
            "left out"
            if policy == "skip"
            else "given the class of their largest object; other boxes were dropped"
        )
        notes.append(f"{role}: {several} images show several classes and were {what}")
    if none:
        notes.append(f"{role}: {none} images show no object and were left out")
    return notes
