"""Verdicts, and the sentences that state them: each names the population it holds for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eval.analysis.paired_statistics import Difference
from eval.statistics.law import ALPHA

Verdict = Literal["higher", "lower", "equivalent", "undecided", "no verdict", "not tested"]


@dataclass(frozen=True)
class Party:
    """One side of a comparison as sentences name it: a method with its training runs, or, without `trained`, something
    that has no training to repeat."""

    name: str
    runs: int
    trained: bool = True
    maps: bool = False
    """Whether its score maps came from files: nothing is known of their training."""

    def said(self, scope: str) -> str:
        """The subject of a sentence about these runs or about the method."""
        if not self.trained or scope == "methods":
            return self.name
        if self.maps:
            return f"these maps of {self.name}"
        return f"this run of {self.name}" if self.runs == 1 else f"these {self.runs} runs of {self.name}"


def judge(difference: Difference, margin: float | None = None) -> Verdict:
    """Higher or lower where the adjusted p is under 0.05; with a margin, equivalent where the 90 % interval lies within
    it (that comes first: a difference within the margin is too small to matter, also where it is not 0).

    With two seeds on a side there is an interval and no verdict: two numbers say too little about a spread. Undecided
    is not evidence of equality.
    """
    if difference.law is None:
        return "not tested"
    if difference.scope == "two seeds":
        return "no verdict"
    if margin is not None and difference.law.p_not_equivalent(margin) < ALPHA:
        return "equivalent"
    p = difference.adjusted_p if difference.adjusted_p is not None else difference.law.p_value()
    if p < ALPHA:
        return "higher" if difference.law.value > 0 else "lower"
    return "undecided"


def few_seeds(baseline: Party, other: Party) -> str:
    """Why there is no verdict on methods, as a clause: the seeds that it needs and those of each trained side.

    >>> few_seeds(Party("vanilla", 3), Party("cutmix", 2))
    'which needs three training seeds of each method (here 3 and 2)'
    """
    runs = " and ".join(str(p.runs) for p in (baseline, other) if p.trained)
    return f"which needs three training seeds of each method (here {runs})"


def in_points(size: float) -> str:
    """A number of percentage points.

    >>> in_points(1.0), in_points(2.5)
    ('1 point', '2.5 points')
    """
    return f"{size:g} point" + ("" if size == 1 else "s")


def points(difference: Difference) -> str:
    """'+2.2 points, 95 % interval +0.4 to +4.0'."""
    ci = difference.ci95
    return f"{difference.value:+.1f} points" + (f", 95 % interval {ci[0]:+.1f} to {ci[1]:+.1f}" if ci else "")


def sentence(
    difference: Difference,
    verdict: Verdict,
    baseline: Party,
    other: Party,
    measure: str,
    margin: float | None = None,
) -> str:
    """The answer by one measure in one sentence."""
    a, b = baseline.said(difference.scope), other.said(difference.scope)
    plural = difference.scope == "runs" and other.trained and (other.runs > 1 or other.maps)
    how = points(difference)
    if verdict == "not tested":
        said = f"{b} against {a}: {how}; nothing was tested"
    elif verdict == "no verdict":
        trained = [p for p in (baseline, other) if p.trained]
        fewest = min(trained, key=lambda p: p.runs)
        of = "a side" if len(trained) == 2 else f"of {fewest.name}"
        runs = " and ".join(str(r) for r in dict.fromkeys(p.runs for p in trained))
        said = (
            f"{other.name} minus {baseline.name} is {how}, over {runs} training runs {of}: an interval, no "
            "verdict (a verdict on methods needs three)"
        )
    elif verdict == "equivalent":
        assert margin is not None  # nothing is equivalent without one
        said = f"{b} and {a} are equivalent within {in_points(margin)}: {how}"
        if (difference.p_value or 0) < ALPHA:
            said += ", which is not 0 but smaller than the margin"
    elif verdict == "undecided":
        said = f"undecided between {b} and {a}: {how}"
    else:
        said = f"{b} {'score' if plural else 'scores'} {verdict} than {a}: {how}"
    return f"By {measure}, {said}."


def population(
    difference: Difference,
    parties: Sequence[Party],
    *,
    clusters: bool = False,
    chosen_elsewhere: bool | None = None,
) -> str:
    """What an interval is about, in one line. `chosen_elsewhere`: a transferred threshold whose images were resampled
    too (False: they were not; None: the threshold is not transferred)."""
    images = "new images of new classes" if clusters else "new images of these classes"
    words = [images]
    if chosen_elsewhere is not None:
        words.append("new train-fullsup images" if chosen_elsewhere else "these train-fullsup images")
    if any(p.trained for p in parties):
        maps = all(p.maps for p in parties if p.trained)
        fixed = "these maps" if maps else "these trainings"
        words.append(fixed if difference.scope == "runs" else "new trainings")
    return ", ".join(words)
