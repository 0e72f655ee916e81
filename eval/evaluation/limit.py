"""A smoke run: only a few images of each split, under a name of its own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from eval.records.limited import limited

if TYPE_CHECKING:
    from eval.evaluation.subject import Subject


def limited_subject(subject: Subject, images: int, *, keep_place: bool) -> Subject:
    """The subject with a limited manifest; its results go beside those of the whole dataset unless `keep_place`."""
    out = subject.out if keep_place else subject.out.with_name(f"{subject.out.name}-limit-{images}")
    return dataclasses.replace(
        subject,
        manifest=limited(subject.manifest, images),
        out=out,
        title=f"{subject.title}, {images} images only",
    )
