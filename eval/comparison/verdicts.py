"""Verdicts in words, corrected for the number of protocols looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from eval.analysis.paired_statistics import Difference, holm

ALPHA = 0.05
Verdict = Literal["higher", "lower", "no detectable difference", "not tested"]


@dataclass(frozen=True)
class Judged:
    """A verdict with the corrected p-value behind it (None without a bootstrap)."""

    verdict: Verdict
    adjusted_p: float | None


def judge(differences: Mapping[str, Difference]) -> dict[str, Judged]:
    """Higher or lower where Holm's corrected p is under 0.05 and the interval misses zero; otherwise no detectable
    difference, which is not evidence of equality: the minimal detectable difference says what could have been seen.
    """
    adjusted = holm({n: d.p_value for n, d in differences.items() if d.p_value is not None})
    found = {}
    for name, d in differences.items():
        p = adjusted.get(name)
        verdict: Verdict
        if p is None or d.ci95 is None:
            verdict = "not tested"
        elif p < ALPHA and d.ci95[0] > 0:
            verdict = "higher"
        elif p < ALPHA and d.ci95[1] < 0:
            verdict = "lower"
        else:
            verdict = "no detectable difference"
        found[name] = Judged(verdict, p)
    return found


def headline(other: str, baseline: str, judged: Mapping[str, Judged]) -> str:
    """The answer in one sentence."""
    count = sum(j.verdict != "not tested" for j in judged.values())
    tally = {v: sum(j.verdict == v for j in judged.values()) for v in ("higher", "lower")}
    if not count:
        return f"{other} against {baseline}: nothing was tested."
    under = f"{count} protocol" + ("s" if count > 1 else "")
    left = len(judged) - count
    tail = f" {left} {'was' if left == 1 else 'were'} not tested." if left else ""
    if not tally["higher"] and not tally["lower"]:
        return f"No detectable difference between {other} and {baseline} under any of {under}." + tail
    if tally["higher"] == count or tally["lower"] == count:
        word = "higher" if tally["higher"] else "lower"
        return f"{other} is {word} than {baseline} under all {under}." + tail
    if tally["higher"] and tally["lower"]:
        return (
            f"The sign depends on the protocol: {other} is higher than {baseline} under {tally['higher']} and lower "
            f"under {tally['lower']} of {under}." + tail
        )
    word = "higher" if tally["higher"] else "lower"
    rest = count - tally[word]
    return (
        f"{other} is {word} than {baseline} under {tally[word]} of {under}; under the other {rest} no difference is "
        "detectable." + tail
    )
