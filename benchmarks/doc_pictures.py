"""The pictures in docs/images: `python -m benchmarks.doc_pictures demo`, after `make demo`.

The comparison's page in headless Chromium (desktop, gallery, phone, dark), and the example of `eval.show`.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from eval.show import main as show
from tests.helpers.chromium import Page, chromium
from tests.helpers.oracles import find_chromium

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
DESKTOP = (1280, 800)
PHONE = (390, 844)


def main() -> None:
    """Write every picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of `make demo`")
    page = parser.parse_args().demo / "comparison" / "compare.html"
    browser = find_chromium()
    if browser is None or not page.is_file():
        sys.exit(f"needs Chromium ({browser or 'not found'}) and {page} (make demo)")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with chromium(browser) as tab:
        _page_pictures(tab, page)
        if tab.problems or tab.requests[5:]:
            print("problems:", tab.problems)
    with tempfile.TemporaryDirectory() as scratch:
        if show(["--out", scratch, "--device", "cpu"]) != 0:
            sys.exit("the example cannot be shown: pip install -e '.[example]'")
        shutil.copy(Path(scratch) / "chelsea.png.png", IMAGES / "show-cat.png")
    for file in sorted(IMAGES.glob("*.png")):
        _shrink(file, width=980 if file.name == "show-cat.png" else None)
        print(file.relative_to(IMAGES.parents[1]), f"{file.stat().st_size / 1024:.0f} KB")


def _page_pictures(tab: Page, page: Path) -> None:
    tab.size(*DESKTOP)
    tab.open(page)
    tab.picture(IMAGES / "compare-desktop.png")
    tab.run("document.querySelector('#gallery, .gallery')?.scrollIntoView()")
    tab.settle()
    tab.picture(IMAGES / "compare-gallery.png")
    tab.size(*PHONE, phone=True)
    tab.open(page)
    tab.picture(IMAGES / "compare-phone.png")
    tab.size(*DESKTOP, dark=True)
    tab.open(page)
    tab.picture(IMAGES / "compare-dark.png")


def _shrink(file: Path, width: int | None) -> None:
    """Fewer colours, and fewer pixels where a width is given: a repository keeps every version."""
    with Image.open(io.BytesIO(file.read_bytes())) as opened:
        picture = opened.convert("RGB")
    if width is not None and picture.width > width:
        height = round(picture.height * width / picture.width)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    picture.quantize(200, dither=Image.Dither.FLOYDSTEINBERG).save(file, optimize=True)


if __name__ == "__main__":
    main()
