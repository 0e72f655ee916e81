"""The LaTeX table of a comparison: what is bold, what is marked, and what the caption says of both."""

from __future__ import annotations

from typing import Any

from eval.comparison.csv_latex import latex_text


def _protocol(role: str, verdict: str, difference: float, ci95: list[float] | None) -> dict[str, Any]:
    return {
        "role": role,
        "verdict": verdict,
        "baseline": 60.0,
        "other": 60.0 + difference,
        "difference": difference,
        "ci95": ci95,
        "population": "new images of these classes",
        "controls": {"center_gaussian": 55.0, "full_image": None},
    }


def _content(
    primary: dict[str, Any], margin: float | None = None, caveats: tuple[str, ...] = ()
) -> dict[str, Any]:
    tested = primary["ci95"] is not None
    other = (
        _protocol("secondary", "higher", 3.0, [2.0, 4.0])
        if tested
        else _protocol("secondary", "not tested", 3.0, None)
    )
    entry = {
        "baseline": "vanilla",
        "other": "cut_mix",
        "caveats": [*caveats, "Another caveat."],
        "protocols": {"maxboxacc_v2": other, "maxboxacc": primary},
    }
    return {
        "dataset": "birds",
        "split": "test",
        "num_images": 600,
        "primary": {"name": "maxboxacc", "margin": margin},
        "settings": {"alpha": 0.05, "correction": "holm, over 1 secondary differences"},
        "comparisons": [entry],
    }


def test_bold_is_what_has_a_verdict() -> None:
    text = latex_text(_content(_protocol("primary", "undecided", 0.5, [-0.5, 1.5])))
    assert r"maxboxacc & 60.00 & 60.50 & $+0.50$ & $[-0.5, +1.5]$ & 55.00 & – \\" in text
    assert r"maxboxacc\_v2 & 60.00 & 63.00 & $\mathbf{+3.00}$ & $[+2.0, +4.0]$ & 55.00 & – \\" in text
    assert (
        "Bold: higher or lower, $p < 0.05$, the primary one alone, the others adjusted (holm, over 1" in text
    )
    assert "Intervals: new images of these classes." in text
    assert "equiv" not in text
    assert "caveat" not in text


def test_what_is_equivalent_is_marked_and_the_margin_is_named() -> None:
    text = latex_text(_content(_protocol("primary", "equivalent", 0.5, [0.2, 0.8]), margin=2.0))
    assert r"& $+0.50^{\equiv}$ & $[+0.2, +0.8]$ &" in text
    assert (
        r"$\equiv$: the primary one is equivalent within 2 points, which comes first: it is not bold, also"
        in text
    )


def test_a_part_of_a_dataset_is_said_to_be_one() -> None:
    part = "Only 5 images of each split (--limit); no result about the dataset."
    text = latex_text(_content(_protocol("primary", "undecided", 0.5, [-0.5, 1.5]), caveats=(part,)))
    assert "percent. Only 5 images of each split (-{}-limit); no result about the dataset. Primary" in text


def test_without_resamples_there_is_no_word_on_intervals_and_bold() -> None:
    text = latex_text(_content(_protocol("primary", "not tested", 0.5, None), margin=2.0))
    assert r"maxboxacc & 60.00 & 60.50 & $+0.50$ & 55.00 & – \\" in text
    assert r"\begin{tabular}{lrrrrr}" in text
    assert "Compared without resamples: no intervals, and nothing was tested." in text
    assert [w for w in ("Bold", "mathbf", "Intervals", r"\,\% interval", "equiv") if w in text] == []
