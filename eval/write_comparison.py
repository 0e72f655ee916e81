"""Compare scored runs and write every output: compare.json, CSV, LaTeX, figures and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.analysis.evaluated import Evaluated, open_evaluated, relabelled
from eval.comparison.build import Comparison, Question, compare_runs
from eval.comparison.config import CompareConfig
from eval.comparison.csv_latex import csv_text, latex_text
from eval.comparison.figures import write_figures
from eval.comparison.terminal import print_comparison
from eval.metrics.bootstrap import Bootstrap
from eval.report.comparison_page import write_comparison_page
from eval.terminal.progress import progress
from eval.terminal.text import print_place, terminal
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.strict_json import read_json
from wsol.machine.provenance import command_line, git_state, software_versions
from wsol.wrapping import tell

COMPARE = "compare.json"


def compare_and_print(config: CompareConfig) -> None:
    """Compare as configured, write every output and print the comparison."""
    out, comparison = compare(config)
    console = terminal()
    print_comparison(console, comparison.content)
    for file in (COMPARE, "compare.csv", "compare.tex", "figures", "compare.html"):
        print_place(console, file, out / file)


def compare(config: CompareConfig) -> tuple[Path, Comparison]:
    """Compare as configured and write every output. Returns their folder and the comparison."""
    if len(config.runs) < 2:
        raise UserError("name at least two evaluated runs to compare: python -m eval.compare RUN RUN")
    if config.margin is not None and not config.margin > 0:
        raise UserError(f"--margin must be a positive number of percentage points, got {config.margin:g}")
    runs = relabelled([open_evaluated(r) for r in config.runs])
    with progress("comparing", sum(r.store.index.num_images for r in runs)) as advance:
        comparison = compare_runs(
            runs,
            baseline=config.baseline,
            bootstrap=Bootstrap(config.bootstrap, config.seed),
            question=Question(config.primary, config.margin, config.correction, config.cluster == "class"),
            dataset=config.dataset,
            data_root=str(config.data_root) if config.data_root else None,
            advance=advance,
        )
    out = config.out or _default_out(runs, comparison)
    out.mkdir(parents=True, exist_ok=True)
    comparison.content["provenance"] = _provenance(runs)
    _tell_replaced(out / COMPARE, comparison.content)
    write_durably(
        out / COMPARE, json.dumps(comparison.content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    )
    write_durably(out / "compare.csv", csv_text(comparison.content))
    write_durably(out / "compare.tex", latex_text(comparison.content))
    write_figures(comparison, out / "figures")
    write_comparison_page(comparison, out / "compare.html", pictures=config.pictures, seed=config.seed)
    return out, comparison


def _tell_replaced(file: Path, content: Mapping[str, Any]) -> None:
    """Say that a comparison of other runs lay here until now; nothing where what lies there is none."""
    try:
        found = read_json(file)
        before, sources = _folders(found), found["provenance"]["runs"]
    except (OSError, UserError, KeyError, TypeError, AttributeError):
        return
    # typed from another folder, or moved, the same runs have other paths and the same provenance
    if before.keys() != _folders(content).keys() and sources != content["provenance"]["runs"]:
        tell(
            f"note: '{file}' held a comparison of {', '.join(before.values())}, which this one replaces; another --out "
            "keeps both"
        )


def _folders(content: Any) -> dict[Path, str]:
    """The compared runs' folders as they were written, by where these are."""
    sides = [side for entry in content["comparisons"] for side in entry["runs"].values()]
    return {Path(run["folder"]).resolve(): run["folder"] for side in sides for run in side}


def _default_out(runs: Sequence[Evaluated], comparison: Comparison) -> Path:
    first = runs[0].folder
    place = first.parent.parent if first.name == "eval" else first.parent
    methods = [comparison.pairings[0].baseline_method, *(p.other_method for p in comparison.pairings)]
    safe = ["".join(c if c.isalnum() or c in "._-" else "_" for c in m) for m in methods]
    return place / "-".join(["compare", *safe])


def _provenance(runs: Sequence[Evaluated]) -> dict[str, Any]:
    names = [r.name for r in runs]
    return {
        "command": command_line(),
        "versions": software_versions(),
        "git": git_state(),
        # folders of one name, as in vanilla/seed0 and cutmix/seed0, are told apart by their path
        "runs": {r.name if names.count(r.name) == 1 else str(r.folder): _run_provenance(r) for r in runs},
    }


def _run_provenance(run: Evaluated) -> dict[str, Any]:
    found = run.results["provenance"]
    kept = (
        "command",
        "git",
        "versions",
        "weights_sha256",
        "manifest_hash",
        "training_seed",
        "training",
        "classifier",
    )
    return {k: found[k] for k in kept if k in found}
