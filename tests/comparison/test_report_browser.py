"""The pages in headless Chromium: quiet console, no network, a slider that tells the truth, keyboard, sizes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from eval.compare import main as compare
from eval.report.__main__ import main as report
from tests.helpers.builders_eval import EVIL, Planted, build_dataset, evaluated_run
from tests.helpers.chromium import Page, chromium
from tests.helpers.oracles import find_chromium

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("browser")
    manifest = build_dataset(root / "data", test=40, fullsup=6)
    protocols = ("maxboxacc", "maxboxacc_v2", "gt_known_fixed", "top1_loc")
    return [
        evaluated_run(
            root / f"{method}-0", manifest, Planted(extent=extent, jitter=0.2), method=method, protocols=protocols,
            bootstrap=50,
        )
        for method, extent in (("vanilla", 0.5), ("cutmix", 0.8))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def comparison(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page")
    assert compare([*map(str, runs), "--out", str(out), "--bootstrap", "50"]) == 0
    return out / "compare.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    assert CHROMIUM is not None
    with chromium(CHROMIUM) as page:
        yield page


@pytest.fixture
def page(browser: Page, comparison: Path) -> Page:
    browser.problems.clear()
    browser.requests.clear()
    browser.size(1280, 900)
    browser.open(comparison)
    return browser


def slide(page: Page, step: int) -> None:
    page.run(
        f"(() => {{ const s = document.getElementById('tau'); s.value = {step};"
        " s.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    page.settle()


def test_no_console_errors_and_no_network(page: Page) -> None:
    page.run("document.querySelector('#grid .card').scrollIntoView()")
    page.settle()
    assert page.problems == []
    assert [r for r in page.requests if not r.startswith(("file:", "data:"))] == []
    assert len([r for r in page.requests if r.startswith("file:")]) == 1  # the page itself


def test_markup_in_a_class_name_is_text(page: Page) -> None:
    assert page.run("document.querySelectorAll('img[src=\"x\"]').length") == 0
    names = page.run("[...document.querySelectorAll('#class option')].map(o => o.textContent)")
    assert EVIL in names
    assert page.problems == []


def test_the_slider_shows_the_accuracy_of_results_json(page: Page, runs: list[Path]) -> None:
    curves = [json.loads((r / "eval" / "results.json").read_text())["curves"]["maxboxacc"] for r in runs]
    for step in (0, 1, 99, 123, 200, 333, 500, 777, 999):
        slide(page, step)
        shown = page.run(
            "[...document.querySelectorAll('.readout b')].map(b => JSON.parse(b.dataset.values)[0])"
        )
        markers = page.run(
            "[...document.querySelectorAll('.curve-figure:not([hidden]) .marker')].map(m => Number(m.dataset.value))"
        )
        tau = np.arange(0, 1, 0.001)[step]
        expected = [c["50"][int(np.searchsorted(c["taus"], tau, side="right")) - 1] for c in curves]
        assert shown == expected
        assert sorted(markers) == sorted(expected)


def test_the_slider_moves_boxes_to_those_of_the_records(page: Page, runs: list[Path]) -> None:
    from eval.analysis.evaluated import open_evaluated

    page.run("document.querySelector('#grid').scrollIntoView()")
    blocks = [open_evaluated(r).store.read(0) for r in runs]
    ids = [f"test/{i:04d}.png" for i in range(40)]
    moved = set()
    for step in (50, 300, 700):
        slide(page, step)
        found = page.run(
            "[...document.querySelectorAll('.card')].filter(c =>"
            " c.querySelector('.pane:not(.alone) canvas').dataset.box &&"
            " c.getBoundingClientRect().top < innerHeight && c.getBoundingClientRect().bottom > 0).map(c =>"
            " [c.dataset.id, ...[...c.querySelectorAll('.pane:not(.alone) canvas')].map(x => x.dataset.box)])"
        )
        assert found
        for image_id, *boxes in found:
            row = ids.index(image_id)
            for block, box in zip(blocks, boxes):
                level = int(np.arange(0, 1, 0.001)[step] * block.channel("resize224-minmax").max_level[row])
                assert box == ",".join(map(str, block.channel("resize224-minmax").largest_box[row, level]))
            moved.add((image_id, boxes[0]))
    assert len({b for _, b in moved}) > len({i for i, _ in moved})


def test_what_counts_as_localized_agrees_with_the_accuracy(page: Page) -> None:
    # all 40 images are on the page, so the share of ticks must be the accuracy
    page.run("document.getElementById('more').click()")
    for step in (100, 400):
        slide(page, step)
        page.run("dispatchEvent(new Event('beforeprint'))")
        ticks = page.run(
            "[...document.querySelectorAll('.card')].map(c =>"
            " [...c.querySelectorAll('.score')].map(s => s.classList.contains('hit')))"
        )
        assert len(ticks) == 40
        shown = page.run(
            "[...document.querySelectorAll('.readout b')].map(b => JSON.parse(b.dataset.values)[0])"
        )
        assert (100 * np.mean(ticks, axis=0)).tolist() == pytest.approx(shown)


def test_keyboard(page: Page) -> None:
    page.run("document.getElementById('tau').focus()")
    before = page.run("document.getElementById('tau-text').textContent")
    page.press("ArrowRight")
    assert float(page.run("document.getElementById('tau-text').textContent")) == pytest.approx(
        float(before) + 0.001
    )
    page.run("document.querySelector('#grid .card').focus()")
    page.press("Enter")
    assert page.run("document.getElementById('viewer').open")
    first = page.run("document.querySelector('#viewer-body p').textContent")
    page.press("ArrowRight")
    assert page.run("document.querySelector('#viewer-body p').textContent") != first
    page.press("Escape")
    assert not page.run("document.getElementById('viewer').open")
    assert page.problems == []


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_first_screen_shows_numbers_controls_and_six_pairs_of_maps(
    page: Page, width: int, height: int
) -> None:
    page.size(width, height, phone=width < 500)
    page.settle()
    seen = page.run(
        "[...document.querySelectorAll('h1, .short tbody tr, .short td, .example')].map(e => {"
        " const r = e.getBoundingClientRect(); return [e.tagName, r.bottom <= innerHeight && r.right <= innerWidth]; })"
    )
    assert [tag for tag, _ in seen].count("BUTTON") == 6
    assert [tag for tag, _ in seen].count("TR") >= 1
    assert all(visible for _, visible in seen)
    heads = page.run("[...document.querySelectorAll('.short thead th')].map(h => h.textContent)")
    assert heads == ["percent", "vanilla", "cutmix", "difference", "centre Gaussian", "full image"]
    boxes = page.run(
        "[...document.querySelectorAll('.examples .pane:not(.alone) canvas')].map(c => Boolean(c.dataset.box))"
    )
    assert boxes == [True] * 12
    names = page.run(
        "[...document.querySelectorAll('.examples .pane:not(.alone) .pane-name')].map(e => e.innerText)"
    )
    assert names == ["vanilla", "cutmix"] * 6
    page.run("document.querySelector('.example').click()")
    assert page.run("document.getElementById('viewer').open")
    page.run("document.getElementById('close').click()")
    assert page.run("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    assert page.problems == []


def test_the_order_follows_the_threshold_of_a_button(page: Page) -> None:
    """Shown are the changes of IoU, largest first, whatever sets the threshold."""
    page.run(
        "const s = document.getElementById('sort'); s.value = 'changed'; s.dispatchEvent(new Event('change'))"
    )
    page.run("document.querySelector('#jumps button:last-child').click()")
    page.run("dispatchEvent(new Event('beforeprint'))")
    found = page.run(
        "[...document.querySelectorAll('.card')].map(c => [...c.querySelectorAll('.score')].map(s =>"
        " Number(s.textContent.match(/IoU ([0-9.]+)/)[1])))"
    )
    changes = [abs(b - a) for a, b in found]
    assert all(x >= y - 0.011 for x, y in itertools.pairwise(changes)), changes
    assert changes[0] > changes[-1]


def test_an_image_is_found_by_its_id_and_reached_by_buttons_and_by_a_link(
    page: Page, comparison: Path
) -> None:
    page.run(
        "const q = document.getElementById('search'); q.value = '0007'; q.dispatchEvent(new Event('input'))"
    )
    assert page.run("[...document.querySelectorAll('.card')].map(c => c.dataset.id)") == ["test/0007.png"]
    page.run("const r = document.getElementById('search'); r.value = ''; r.dispatchEvent(new Event('input'))")
    page.run("document.querySelector('#grid .card').click()")
    first = page.run("document.querySelector('#viewer-body p').textContent")
    assert page.run("document.getElementById('previous').disabled")
    page.run("document.getElementById('next').click()")
    second = page.run("document.querySelector('#viewer-body p').textContent")
    assert second != first
    assert page.run("[...document.querySelectorAll('#viewer-body .pane-name')].map(n => n.textContent)") == [
        "picture",
        "vanilla",
        "cutmix",
    ]
    link = page.run("location.hash")
    page.run("document.getElementById('close').click()")
    page.open(comparison, link)
    assert page.run("document.getElementById('viewer').open")
    assert page.run("document.querySelector('#viewer-body p').textContent") == second
    page.run("document.getElementById('close').click()")
    assert page.problems == []


def test_tab_reaches_every_control(page: Page) -> None:
    page.run("document.body.focus()")
    reached = set()
    for _ in range(30):
        page.press("Tab")
        reached.add(page.run("document.activeElement.id || document.activeElement.className"))
    assert {"tau", "protocol", "sort", "class", "kind", "why", "layer", "card"} <= reached


def choose(page: Page, name: str, value: str) -> None:
    page.run(
        f"(() => {{ const s = document.getElementById('{name}'); s.value = {value!r};"
        " s.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    page.settle()


def test_filter_and_sort(page: Page) -> None:
    choose(page, "class", "2")
    assert "10 shown" in page.run("document.getElementById('count').textContent")
    names = page.run("[...document.querySelectorAll('.card .name')].map(n => n.textContent)")
    assert set(names) == {"kingfisher & co"}
    choose(page, "sort", "worst")
    iou = page.run("[...document.querySelectorAll('.card')].map(c => c.dataset.id)")
    choose(page, "sort", "best")
    assert page.run("[...document.querySelectorAll('.card')].map(c => c.dataset.id)") != iou
    choose(page, "class", "")
    kind = page.run("document.querySelectorAll('#kind option')[1].value")
    choose(page, "kind", kind)
    assert 0 < page.run("document.querySelectorAll('.card').length") < 40


def test_another_protocol_has_its_own_curve(page: Page, runs: list[Path]) -> None:
    choose(page, "protocol", "maxboxacc_v2")
    slide(page, 250)
    curves = [json.loads((r / "eval" / "results.json").read_text())["curves"]["maxboxacc_v2"] for r in runs]
    shown = page.run("[...document.querySelectorAll('.readout b')].map(b => JSON.parse(b.dataset.values))")
    at = [int(np.searchsorted(c["taus"], 0.25, side="right")) - 1 for c in curves]
    assert shown == [[c[k][i] for k in ("30", "50", "70")] for c, i in zip(curves, at)]


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window(page: Page, width: int, dark: bool) -> None:
    page.size(width, 844, phone=width < 500, dark=dark)
    page.settle()
    assert page.run("document.documentElement.scrollWidth") <= width


CONTRAST = """(() => {
  const luminance = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => { x /= 255;
    return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; });
    return 0.2126*v[0] + 0.7152*v[1] + 0.0722*v[2]; };
  const ground = luminance(getComputedStyle(document.body).backgroundColor);
  const worst = {};
  for (const node of document.querySelectorAll('h1,h2,p,th,td,dd,dt,label,summary,.readout,.score span')) {
    if (!node.offsetParent || !node.textContent.trim()) continue;
    const ink = luminance(getComputedStyle(node).color);
    const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    if (ratio < 4.5) worst[node.className || node.tagName] = ratio;
  }
  return worst; })()"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_the_contrast_that_wcag_asks_for(page: Page, dark: bool) -> None:
    page.size(1280, 900, dark=dark)
    page.settle()
    assert page.run(CONTRAST) == {}


def test_the_page_of_a_run(browser: Page, runs: list[Path]) -> None:
    assert report([str(runs[0]), "--pictures", "12"]) == 0
    browser.problems.clear()
    for width, height in ((390, 844), (1280, 800)):
        browser.size(width, height, phone=width < 500)
        browser.open(runs[0] / "eval" / "report.html")
        seen = browser.run(
            "[...document.querySelectorAll('h1, .short td, .example')].map(e => { const r ="
            " e.getBoundingClientRect(); return [e.tagName, r.bottom <= innerHeight && r.right <= innerWidth]; })"
        )
        assert [tag for tag, _ in seen] == ["H1"] + ["TD"] * 12 + ["BUTTON"] * 6
        assert all(visible for _, visible in seen)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    assert browser.problems == []
    assert "vanilla localizes" in browser.run("document.querySelector('h1').textContent")
    assert browser.run("document.querySelectorAll('.card').length") == 12
    slide(browser, 300)
    curve = json.loads((runs[0] / "eval" / "results.json").read_text())["curves"]["maxboxacc"]
    shown = browser.run("JSON.parse(document.querySelector('.readout b').dataset.values)[0]")
    assert shown == curve["50"][int(np.searchsorted(curve["taus"], 0.3, side="right")) - 1]
