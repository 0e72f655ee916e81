"""The same maps under min-max, max, PaS and IVR: does the sign of the difference depend on the normalisation?

Kim et al. (ICCV 2021, arXiv 2107.13221) print CutMix 0.30 points below CAM under min-max and 2.51 above it under IVR.
`eval.localize` records every normalisation that the maps allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.analysis.evaluated import Evaluated
from eval.analysis.paired_statistics import Sampled, paired_difference
from eval.comparison.published import published_for
from eval.comparison.run_pairs import Pairing
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.outcomes import Summary
from eval.protocols import Protocol, normalization_variants


def normalization_effects(
    pairing: Pairing, protocols: Sequence[Protocol], bootstrap: Bootstrap
) -> tuple[dict[str, Any], dict[str, str]]:
    """For every protocol of boxes at the best threshold the difference under each normalisation, and whether its sign
    flips; and by normalisation why one is absent."""
    runs = (*pairing.baseline, *pairing.other)
    variants = normalization_variants(protocols)
    missing: dict[str, str] = {}
    for by_name in variants.values():
        for normalization, p in by_name.items():
            reason = next((r for run in runs if (r := _not_recorded(run, p))), None)
            if reason:
                missing[normalization] = reason
    wanted = [p for by_name in variants.values() for n, p in by_name.items() if n not in missing]
    summaries = {str(r.folder): r.summaries(wanted, bootstrap) for r in runs}
    found = {
        base: _effect(pairing, {n: p for n, p in by_name.items() if n not in missing}, summaries, bootstrap)
        for base, by_name in variants.items()
    }
    return found, missing


def _not_recorded(run: Evaluated, protocol: Protocol) -> str | None:
    if run.store.index.holds(protocol.channel):
        return None
    why = run.store.index.maps.get("not_computed", {}).get(str(protocol.channel))
    return str(
        why
        or f"'{run.folder}' was scored before other normalisations were recorded; run eval.localize on it again"
    )


def _effect(
    pairing: Pairing,
    variants: Mapping[str, Protocol],
    summaries: Mapping[str, Mapping[str, Summary]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    rows = {}
    for normalization, p in variants.items():
        sampled = [
            Sampled.of(
                [summaries[str(r.folder)][p.name].value for r in runs],
                [summaries[str(r.folder)][p.name].resampled for r in runs],
            )
            for runs in (pairing.baseline, pairing.other)
        ]
        first = pairing.baseline[0]
        rows[normalization] = {
            **paired_difference(*sampled, by_seed=pairing.by_seed, seed=bootstrap.seed).as_json(),
            "published": published_for(
                p.name, pairing.baseline_method, pairing.other_method, first.dataset, first.arch
            ),
        }
    clear = {
        int(np.sign(r["difference"])) for r in rows.values() if r["ci95"] and r["ci95"][0] * r["ci95"][1] > 0
    }
    return {"rules": rows, "sign_flips": {-1, 1} <= clear}
