"""The benchmark for GPU machines runs to its table on the CPU, as small as it gets: nobody runs it from day to day."""

from __future__ import annotations

import pytest

from benchmarks.gpu import main

SMALL = "--device cpu --size 32 --batch-size 8 --batches 1 --train-batch-size 4 --repeats 1 --threads 1"


def test_the_gpu_benchmark_ends_with_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(SMALL.split())
    table = capsys.readouterr().out.split("share of the limit\n")[1].splitlines()
    names = ["bare forward", "CAMs, on device", "CAMs", "localize, whole image", "localize, both views"]
    names += ["bare step", "training, vanilla", "training, CutMix"]
    assert [line[:32].strip() for line in table] == names
    for line in table:
        assert float(line[32:42].replace(",", "")) > 0, line
        assert ("%" in line) == (not line.startswith("bare")), line
