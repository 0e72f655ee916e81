"""What is printed on terminals of several widths, and progress without one."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from eval.overview.table import overview_notes, overview_tables
from eval.terminal.progress import Lines
from eval.terminal.tables import notes, result_tables
from eval.terminal.text import PIPED_WIDTH, print_table, print_text, terminal
from wsol.errors import UserError
from wsol.wrapping import tell, wrapped

WIDTHS = (60, 80, 100, 140)


def _entry(value: float, threshold: Any = 0.1234, rule: str = "oracle") -> dict[str, Any]:
    return {
        "value": value,
        "ci95": [value - 3.21, value + 3.21],
        "threshold": threshold,
        "definition": {"threshold": rule},
    }


def _results(shift: float = 0.0) -> dict[str, Any]:
    taus = {"30": 0.111, "50": 0.222, "70": 0.333}
    protocols = {
        "maxboxacc": _entry(51.17 + shift),
        "maxboxacc_v2_transferred": _entry(52.18 + shift, taus, "transferred"),
        "gt_known_fixed": _entry(53.19 + shift, 0.2, "fixed"),
        "pxap": {**_entry(54.21 + shift, None, "none")},
    }
    return {
        "dataset": "birds",
        "split": "test",
        "threshold_split": "train-fullsup",
        "num_images": 600,
        "counts": {"scored": 598, "no_gt": 2},
        "protocols": protocols,
        "controls": {name: {"maxboxacc": _entry(61.23)} for name in ("center_gaussian", "full_image")},
        "classification": {"top1": _entry(71.29 + shift)},
        "energy": {"object": _entry(33.31 + shift)},
        "not_computed": {"mask_iou": "the dataset has no masks"},
        "provenance": {"notes": ["only 600 images of each split (--limit)"], "manifest_hash": "x"},
    }


def _printed(tables: list[Table], width: int, capsys: pytest.CaptureFixture[str]) -> str:
    print_table(Console(width=width), tables)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", WIDTHS)
def test_every_number_of_a_result_is_visible(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    shown = _printed(result_tables(_results()), width, capsys)
    numbers = ["51.17", "52.18", "53.19", "54.21", "61.23", "0.123", "0.111", "0.222", "0.333", "0.200"]
    assert [n for n in numbers if n not in shown] == []
    assert shown.count("61.23") == 2
    assert "[48.0, 54.4]" in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize("width", [40, *WIDTHS])
def test_every_number_of_an_overview_is_visible(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    named = [("vanilla", _results()), ("cutmix", _results(1.0))]
    shown = _printed(overview_tables(named), width, capsys)
    numbers = [
        "51.17",
        "52.18",
        "53.19",
        "71.29",
        "33.31",
        "52.17",
        "53.18",
        "54.19",
        "72.29",
        "34.31",
        "61.23",
    ]
    assert [n for n in numbers if n not in shown] == []
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width


def test_what_is_left_out_stands_before_the_other_notes() -> None:
    assert notes(_results())[0] == "note: only 600 images of each split (--limit)"


def test_prose_is_wrapped_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/a/rather/long/path/that/must/stay/whole/results.json"
    print_text(Console(width=40), f"[bold]the results of this evaluation[/] are in {path}")
    out = capsys.readouterr().out
    assert path in out
    assert "[bold]" in out
    assert all(len(line) <= 40 or path in line for line in out.splitlines())


def test_columns_is_honoured_when_piped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal().width == PIPED_WIDTH
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal().width == 72


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    advance = Lines("scoring", 1000, every=30, clock=lambda: now[0])
    for _ in range(10):
        now[0] += 10
        advance(16)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "scoring: 48 of 1000 images, 1.6 images/s, about 10 min left"
    assert [re.search(r"\d+", line)[0] for line in lines] == ["48", "96", "144"]  # type: ignore[index]


def test_time_left_forgets_what_a_second_split_had_and_is_never_negative(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    advance = Lines("scoring", 6000, every=30, clock=lambda: now[0])
    advance(5000)  # one split, kept from an earlier run
    for now[0] in (10.0, 11.0):
        advance(512 if now[0] == 10 else 20)  # the other one's first images were kept too
    for second in range(12, 61):
        now[0] = float(second)
        advance(20)
    lines = capsys.readouterr().err.splitlines()
    assert (
        lines[-1] == "scoring: 6512 of 6000 images, 20.0 images/s, about 0 s left"
    )  # of two processes this did more


def test_time_left_is_not_judged_by_an_earlier_runs_images_or_by_a_first_burst(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    advance = Lines("scoring", 1000, every=30, clock=lambda: now[0])
    advance(512)  # kept from an earlier run
    for now[0] in (10.0, 20.0, 30.0):
        advance(16)
    fresh = Lines("scoring", 1000, every=30, clock=lambda: now[0])
    for now[0] in (58.0, 60.0, 60.5):
        fresh(16)
    assert capsys.readouterr().err.splitlines() == [
        "scoring: 560 of 1000 images, 1.6 images/s, about 5 min left",
        "scoring: 32 of 1000 images",
    ]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_prose_breaks_between_words_alone(width: int) -> None:
    text = (
        "without a threshold, pointing_mask: 52.33 [48.3, 56.4] % (chance 13.2 %, centre Gaussian 40.7), "
        "kept in /a/rather/long/path-of/somebody's/results.json: +1.2 [-0.3, +2.7]"
    )
    lines = wrapped(text, width)
    assert " ".join(line.strip() for line in lines) == text
    assert max(map(len, lines)) <= width
    for whole in (
        "[48.3, 56.4] %",
        "13.2 %",
        "/a/rather/long/path-of/somebody's/results.json:",
        "[-0.3, +2.7]",
    ):
        assert any(whole in line for line in lines)


def test_notes_are_one_line_in_a_pipe_and_wrapped_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "note: " + "word " * 40 + "end"
    tell(text)
    assert capsys.readouterr().err == text + "\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    tell(text)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 4
    assert max(map(len, lines)) <= 50


def test_an_overview_counts_images_with_boxes_and_says_what_is_a_part(
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [("vanilla", _results()), ("cutmix", _results())]
    assert "birds, test, 598 images with boxes of 600: percent" in _printed(
        overview_tables(named), 120, capsys
    )
    assert overview_notes(named) == ["only 600 images of each split (--limit)"]
    named[1][1]["provenance"]["notes"] = []
    assert overview_notes(named) == ["vanilla: only 600 images of each split (--limit)"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_overviews_controls_do_not_depend_on_the_order_of_its_runs(
    order: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = _results()
    lacking["controls"] = {"center_gaussian": {"gt_known_fixed": _entry(41.41)}}
    named = [("a", _results()), ("b", lacking)]
    shown = _printed(overview_tables([named[i] for i in order]), 120, capsys)
    assert shown.count("61.23") == 2, "MaxBoxAcc of both controls"
    assert shown.count("41.41") == 1, "GT-known of the Gaussian"


def test_runs_of_own_protocols_alone_show_those(capsys: pytest.CaptureFixture[str]) -> None:
    own = _results()
    own["protocols"] = {"mine": _entry(17.71)}
    own["controls"] = {"center_gaussian": {"mine": _entry(18.81)}}
    shown = _printed(overview_tables([("a", own)]), 120, capsys)
    assert "mine" in shown
    assert "17.71" in shown
    assert "18.81" in shown
    assert "MaxBoxAcc" not in shown
    both = _printed(overview_tables([("a", own), ("b", _results())]), 140, capsys)
    assert [n for n in ("17.71", "18.81", "51.17", "MaxBoxAcc") if n not in both] == []


def test_one_name_for_two_protocols_is_no_column() -> None:
    other = _results()
    other["protocols"]["maxboxacc"]["definition"]["frame_size"] = 32
    with pytest.raises(UserError, match="define maxboxacc differently"):
        overview_tables([("a", _results()), ("b", other)])
