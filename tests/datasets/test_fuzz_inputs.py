"""A small share of benchmarks/fuzz_inputs.py: broken inputs of every kind give a manifest or one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_inputs import Kind, clear, kinds, run_case
from benchmarks.mutations import mutate_bytes
from tests.helpers.layouts import LAYOUTS

NAMES = (
    *(
        "tiny-imagenet",
        "wsol-metadata",
        "openimages",
        "cub",
        "imagenet-csv",
        "imagenet-xml",
        "imagenet-devkit",
        "voc",
    ),
    *("coco", "coco-masks", "folder", "card", "manifest", "zip", "tar", "tgz", "command"),
)

CHEAP = tuple(n for n in NAMES if n not in ("command", "imagenet-devkit"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Kind], Path]:
    scratch = tmp_path_factory.mktemp("fuzz")
    return kinds(scratch), scratch


def test_every_kind_is_known(prepared: tuple[dict[str, Kind], Path]) -> None:
    assert {n for n in prepared[0] if not n.startswith("prepare:")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_unbroken_input_is_accepted(prepared: tuple[dict[str, Kind], Path], name: str) -> None:
    """Else every case would be an error, and the run would show nothing."""
    every, scratch = prepared
    clear(scratch)
    every[name].read(every[name].files)


@pytest.mark.filterwarnings("ignore")
@given(name=st.sampled_from(CHEAP), seed=st.integers(0, 2**31))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_broken_inputs(prepared: tuple[dict[str, Kind], Path], name: str, seed: int) -> None:
    every, scratch = prepared
    assert run_case(every[name], seed, scratch) in ("manifest", "error", "error with line")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_the_whole_command_leaves_a_manifest_or_nothing(
    prepared: tuple[dict[str, Kind], Path], seed: int
) -> None:
    every, scratch = prepared
    assert run_case(every["command"], seed, scratch)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(f"prepare: {n}" for n in LAYOUTS if "zip" not in n))
def test_whole_commands_on_every_layout(prepared: tuple[dict[str, Kind], Path], name: str) -> None:
    every, scratch = prepared
    assert run_case(every[name], 1, scratch)


def test_mutation_changes_something() -> None:
    import random

    text = b"a b\nc d\ne f\n"
    assert sum(mutate_bytes(text, random.Random(s)) != text for s in range(200)) > 180
