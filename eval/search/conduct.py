"""Conduct a search: datasets, trials, the chosen settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from eval.search.design import SPLIT, Search, read_search, trial_folder
from eval.search.trials import open_trials, shown, work
from eval.study.conduct import keep_design
from eval.study.engine import Engine, interrupted_by_sigterm, slurm_parameters
from eval.study.run import prepare_datasets
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.strict_json import read_json
from wsol.machine.provenance import command_line, git_state, software_versions

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SCHEMA = 1
CHOSEN = "chosen"
RECORD = "search.json"


def conduct(file: Path, out: Path | None, *, workers: int, cluster: str, slurm: Sequence[str]) -> None:
    """Bring a search to its end and write what it chose.

    Nothing is done where all trials are told. Raises `UserError` where a trial failed for another reason than that
    training diverged (a diverged trial counts, and is never chosen), after all others were run.
    """
    if workers < 1:
        raise UserError(f"--workers must be at least 1, got {workers}")
    search = read_search(file)
    out = out or Path("runs") / f"search-{search.name}"
    keep_design(file, out)
    prepare_datasets(search.datasets, out)
    studies = {method: open_trials(search, method, out) for method in search.methods}
    console = Console(stderr=True)
    failed: list[str] = []
    if any(not t.state.is_finished() for study in studies.values() for t in study.get_trials()):
        if workers == 1 and cluster == "local":
            failed = work(str(file), str(out), lambda text: console.print(text, highlight=False))
        else:
            with (
                interrupted_by_sigterm(),
                Engine(out, cluster, workers, 1, slurm_parameters(slurm)) as engine,
            ):
                jobs = [engine.submit(work, str(file), str(out), share=share) for share in engine.shares]
                failed = sorted({line for job in jobs for line in job.result()})
                del jobs
    trials = {method: study.get_trials() for method, study in studies.items()}
    undone = sum(not t.state.is_finished() for found in trials.values() for t in found)
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise UserError(
            f"{len(failed)} trials failed: {failed[0]}{more}; the same command tries again (logs: {out / 'trials'})"
        )
    if undone:
        raise UserError(f"{undone} trials are still running elsewhere; call again")
    _write(search, trials, out)
    _print(search, trials, out)


def chosen(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial of the highest score, the first of several; None where every one diverged."""
    scored = [t for t in trials if t.value is not None]
    return max(scored, key=lambda t: (t.value, -t.number)) if scored else None


def _write(search: Search, trials: Mapping[str, Sequence[FrozenTrial]], out: Path) -> None:
    methods: dict[str, Any] = {}
    for method, found in trials.items():
        best = chosen(found)
        methods[method] = {
            "chosen": best and best.number,
            "trials": [
                {
                    "number": t.number,
                    "settings": t.params,
                    **({"diverged": True} if t.value is None else {search.score: t.value}),
                    "runs": trial_folder(out, method, t.number).relative_to(out).as_posix(),
                }
                for t in found
            ],
        }
        if best is not None:
            text = (
                f"# Chosen by eval.search '{search.name}': trial {best.number} of {len(found)}, {search.score} on "
                f"{SPLIT} {best.value:.2f}.\n# What is not here (network, epochs) is stated where it is used.\n"
            )
            text += yaml.safe_dump(search.setting(method, best.params), sort_keys=False)
            _keep(out / CHOSEN / f"{method}.yaml", text)
    record = {"schema": SCHEMA, "name": search.name, "score": search.score, "split": SPLIT}
    record |= {"seed": search.seed, "notes": search.notes.strip(), "methods": methods}
    file = out / RECORD
    kept = read_json(file) if file.is_file() else None
    if not isinstance(kept, dict) or kept.get("methods") != methods:
        record["provenance"] = {
            "command": command_line(),
            "versions": software_versions(),
            "git": git_state(),
        }
        write_durably(file, json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _keep(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        write_durably(file, text)


def _print(search: Search, trials: Mapping[str, Sequence[FrozenTrial]], out: Path) -> None:
    table = Table(box=box.SIMPLE, title=f"{search.score} on {SPLIT}", title_justify="left")
    for column in ("method", "trials", "diverged", "median", "best", "chosen", "written"):
        table.add_column(
            column, justify="right" if column in ("trials", "diverged", "median", "best") else "left"
        )
    for method, found in trials.items():
        best = chosen(found)
        scores = sorted(t.value for t in found if t.value is not None)
        table.add_row(
            method,
            str(len(found)),
            str(len(found) - len(scores)),
            f"{scores[len(scores) // 2]:.2f}" if scores else "",
            f"{best.value:.2f}" if best else "",
            shown(best.params) if best else "every trial diverged: search lower learning rates",
            str(out / CHOSEN / f"{method}.yaml") if best else "",
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    if not all(chosen(found) for found in trials.values()):
        raise UserError("every trial of a method diverged (see the table): state lower learning rates")
