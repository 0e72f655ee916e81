"""The trials of one method in Optuna's journal, and the work on them, shared by any number of processes and hosts.

The journal says what was drawn and what came of it; a trial that it calls running is drawn, whether anybody works on it
or not. Who works on a trial holds a lock on its folder, which a killed process frees; the runs inside continue where
they ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.metrics.results_json import read_results
from eval.search.design import Search, read_search, trial_folder
from eval.search.ranges import draws
from eval.study.run import run_job
from wsol.errors import UserError
from wsol.files.lock import Taken, let_go, take
from wsol.machine.share import ALL, Share
from wsol.training.failures import DIVERGED

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

JOURNAL = "journal.log"
_DRAWING_SECONDS = 60.0


def open_trials(search: Search, method: str, out: Path) -> Study:
    """The method's trials, drawn where they were not yet. `UserError` where Optuna or the journal cannot be used."""
    try:
        import optuna  # optional: the extra `search`
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise UserError("a search needs the package optuna: pip install 'wsol-eval[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = out / "trials" / method
    folder.mkdir(parents=True, exist_ok=True)
    ranges = search.ranges(method)
    distributions = {name: r.distribution() for name, r in ranges.items()}
    with _alone(folder):
        try:
            storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
            name = f"{search.name}/{method}"
            if name in optuna.get_all_study_names(storage):
                study = optuna.load_study(study_name=name, storage=storage)
            else:
                study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
            drawn = draws(ranges, search.trials, search.seed)
            known = study.get_trials()
            for values in drawn[len(known) :]:
                study.add_trial(
                    optuna.trial.create_trial(
                        state=optuna.trial.TrialState.RUNNING, params=values, distributions=distributions
                    )
                )
        except (ValueError, KeyError, json.JSONDecodeError) as error:
            raise UserError(
                f"'{folder / JOURNAL}' cannot be read ({error}); remove it: it is written anew from the trials' folders"
            ) from error
    for trial, values in zip(known, drawn):
        if trial.params != values:
            raise UserError(
                f"'{folder / JOURNAL}': trial {trial.number} was drawn as {trial.params}, and the search draws "
                f"{values}; give the search another --out"
            )
    return study


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder for the moment in which trials are drawn, waiting for others that do so."""
    end = time.monotonic() + _DRAWING_SECONDS
    while True:
        try:
            lock = take(folder)
            break
        except Taken as error:
            if time.monotonic() > end:
                raise UserError(f"another process holds '{folder}'; end it, then call again") from error
            time.sleep(0.05)
    try:
        yield
    finally:
        let_go(lock)


def work(file: str, folder: str, report: Callable[[str], None] = print, share: Share = ALL) -> list[str]:
    """Bring every trial that nobody else works on to its end, on a share of the machine; one line for each that failed.

    A top-level function of plain values, so that a job engine can send it to another process or host. Trials of all
    methods take turns, so that a search that is cut short has equally many of each.
    """
    share.take()
    search, out = read_search(Path(file)), Path(folder)
    studies = {method: open_trials(search, method, out) for method in search.methods}
    failed = []
    for number in range(search.trials):
        for method, study in studies.items():
            place = trial_folder(out, method, number)
            place.mkdir(parents=True, exist_ok=True)
            try:
                lock = take(place)
            except Taken:
                continue
            try:
                trial = study.get_trials(deepcopy=False)[number]
                if not trial.state.is_finished():
                    _run(search, method, trial, study, out, report)
            except RuntimeError as error:
                failed.append(f"{method} {number}: {str(error).splitlines()[-1]}")
                report(f"failed {failed[-1]}")
            finally:
                let_go(lock)
    return failed


def _run(
    search: Search, method: str, trial: FrozenTrial, study: Study, out: Path, report: Callable[[str], None]
) -> None:
    from optuna.trial import TrialState

    scores = []
    about = f"{method} {trial.number + 1}/{search.trials} {shown(trial.params)}"
    for job in search.jobs(method, trial.number, trial.params, out):
        job.write_config()
        try:
            run_job(job.commands(), str(job.log))
        except RuntimeError as error:
            if DIVERGED not in str(error):
                raise
            study.tell(trial.number, state=TrialState.FAIL)
            report(f"{about}: diverged")
            return
        (file,) = job.results()
        results = read_results(file)
        entry = results["protocols"].get(search.score)
        if entry is None:
            why = results["not_computed"].get(search.score, "no reason is recorded")
            raise RuntimeError(f"{file} holds no {search.score}: {why}")
        scores.append(float(entry["value"]))
    study.tell(trial.number, sum(scores) / len(scores))
    report(f"{about}: {search.score} {sum(scores) / len(scores):.2f}")


def shown(values: dict[str, Any]) -> str:
    """Settings in one line."""
    return " ".join(f"{n}={v:.4g}" if isinstance(v, float) else f"{n}={v}" for n, v in values.items())
