"""What a further study could show, as tables on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.comparison.planning import pilot_of
from eval.comparison.verdicts import in_points
from eval.statistics.components import METHODS_FROM
from eval.statistics.planning import detectable, images_needed, power, runs_needed
from eval.terminal.tables import table_of
from eval.terminal.text import print_table, print_text, terminal
from wsol.errors import UserError
from wsol.files.strict_json import read_json
from wsol.files.typed import check_types

if TYPE_CHECKING:
    from eval.power.__main__ import PowerConfig

COMPARE = "compare.json"
_PLANNING = {
    "protocol": str,
    "images": int,
    "pilot_runs": int,
    "rough": bool,
    "standard_deviations.runs": [float],
    "standard_deviations.run_by_image": [float],
    "standard_deviations.method_by_image": float,
}


def print_power(config: PowerConfig) -> None:
    """Print, for every method of a comparison against its baseline, power and detectable difference by seeds and
    images, and the fewest of each for the effect. Raises `UserError` without a pilot of two seeds a side."""
    if not 0 < config.power < 1:
        raise UserError(f"--power must lie between 0 and 1, got {config.power:g}")
    if not config.effect > 0:
        raise UserError(f"--effect must be a positive number of percentage points, got {config.effect:g}")
    for name, values, least in (("seeds", config.seeds, METHODS_FROM), ("images", config.images, 2)):
        if any(v < least for v in values):
            raise UserError(f"--{name}: at least {least}, got {min(values)}")
    file = config.comparison / COMPARE if config.comparison.is_dir() else config.comparison
    within = sorted(config.comparison.glob(f"comparisons/*/{COMPARE}"))
    if within and not file.is_file():
        named = " or ".join(f"'{f.parent}'" for f in within[:3])
        raise UserError(f"'{config.comparison}' is a study of {len(within)} comparisons; name one: {named}")
    console = terminal()
    plans = pilots(file)
    for name, plan in plans.items():
        pilot, images = pilot_of(plan), config.images or (int(plan["images"]),)
        drawn = plan.get("drawn", "images")  # classes, where those were resampled
        table = table_of(
            f"{name} by {plan['protocol']}, from {plan['pilot_runs']} seeds a side on {plan['images']:,} "
            + drawn
            + (" (two seeds: rough)" if plan["rough"] else ""),
            f"test {drawn}",
            [f"{r} seeds a side" for r in config.seeds],
        )
        for n in images:
            cells = [
                f"{100 * power(pilot, config.effect, r, n):.0f} %, "
                f"{detectable(pilot, r, n, wanted=config.power):.1f} points"
                for r in config.seeds
            ]
            table.add_row(f"{n:,}", *cells)
        print_table(console, [table])
        print_text(
            console,
            f"Each cell: the power for {in_points(config.effect)}, and the true difference that is found with a power "
            f"of {100 * config.power:.0f} %. Level 5 %, one outcome, by the law of eval.compare.",
        )
        for n in images:
            runs = runs_needed(pilot, config.effect, n, wanted=config.power)
            enough = f"{runs} seeds a side" if runs else "no number of seeds (up to 200) is enough"
            print_text(console, f"{in_points(config.effect)} on {n:,} {drawn}: {enough}.")
        for r in config.seeds:
            fewest = images_needed(pilot, config.effect, r, wanted=config.power)
            enough = (
                f"{fewest:,} {drawn}"
                if fewest
                else f"no number of {drawn} is enough: the runs differ too much"
            )
            print_text(console, f"{in_points(config.effect)} with {r} seeds a side: {enough}.")


def pilots(file: Path) -> dict[str, dict[str, Any]]:
    """The `planning` entries of a compare.json by the comparison's name; `UserError` where it has none."""
    try:
        content = read_json(file)
    except FileNotFoundError as error:
        raise UserError(f"no comparison at '{file}'; run `python -m eval.compare RUN RUN` first") from error
    check_types(content, {"comparisons": [dict]}, f"'{file}'", "run eval.compare again")
    found: dict[str, dict[str, Any]] = {}
    for entry in content["comparisons"]:
        check_types(entry, {"name": str, "planning": (dict, None)}, f"'{file}'", "run eval.compare again")
        if entry["planning"] is not None:
            check_types(entry["planning"], _PLANNING, f"'{file}': planning", "run eval.compare again")
            found[entry["name"]] = entry["planning"]
    if not found:
        raise UserError(
            f"'{file}' compares single runs, which say nothing about how runs of one method differ; compare two or "
            "more training seeds of each method"
        )
    return found
