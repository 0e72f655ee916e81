"""What the run computes on: device, precision, memory layout, determinism."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from wsol.errors import UserError
from wsol.machine.cores import decoding_processes
from wsol.machine.random_state import random_state, restore_random_state

if TYPE_CHECKING:
    from wsol.training.config import TrainConfig

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of a name: `auto` is a CUDA GPU (the process's own under torchrun), Apple's GPU, or the CPU.

    A device that is not there, or no device at all, is a `UserError`.
    """
    cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"unknown --device '{name}'; legal: auto, cpu, cuda, cuda:N, mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device {name} is not supported; legal: auto, cpu, cuda, cuda:N, mps")
    if device.type == "cuda" and not cuda:
        raise UserError("--device cuda: no CUDA device is usable here; use --device auto or cpu")
    if device.type == "mps" and not mps:
        raise UserError("--device mps: Apple's GPU is not usable here; use --device auto or cpu")
    if device.type == "cuda":
        index = local_rank if device.index is None else device.index
        if index >= torch.cuda.device_count():
            raise UserError(f"--device cuda:{index}: only {torch.cuda.device_count()} CUDA devices are here")
        return torch.device("cuda", index)
    return device


def resolve_auto(config: TrainConfig, device: torch.device) -> TrainConfig:
    """The config with everything filled in that depends on the machine, as the run record holds it."""

    precision = config.precision
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp32"
    if precision == "fp16" and device.type != "cuda":
        raise UserError(f"--precision fp16 needs a CUDA device, not {device.type}; use bf16 or fp32")
    channels_last = config.channels_last
    if channels_last == "auto":
        channels_last = "off" if device.type == "mps" else "on"
    workers = decoding_processes(device.type == "cuda") if config.workers is None else config.workers
    return replace(
        config,
        precision=precision,
        channels_last=channels_last,
        workers=workers,
        device=device.type,
        train_resize=config.resize,
        output_stride=config.stride,
        lr=config.base_lr,
        classifier_lr_ratio=config.head_lr_ratio,
    )


_STEPS_FOR_A_SEARCH = 2000


def search_fast_kernels(config: TrainConfig, steps: int) -> None:
    """Have cuDNN time its algorithms where a run of so many steps earns that back.

    For EfficientNet-Lite0 at 224 pixels on an H200 the search took 10 seconds (first epoch of 7 steps: 19.5 s with it,
    9.3 s without), some hundreds of steps; call it inside `preserved_torch_state`.
    """
    torch.backends.cudnn.benchmark = not config.deterministic and steps >= _STEPS_FOR_A_SEARCH


def use_full_float32() -> None:
    """float32 is float32 on a GPU from now on: torch's convolutions round to TF32 (10 bits) by default."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def _has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 by itself; emulation would be slower than float32.

    On an x86 CPU with AVX512-BF16 training runs about twice as fast so.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(False))
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return False


@contextmanager
def preserved_torch_state(*, deterministic: bool) -> Iterator[None]:
    """While entered, what a run needs of torch's global settings; on leaving, whatever they were before.

    With `deterministic`, torch takes kernels that give the same bits each time, and an operation without one raises
    RuntimeError; enter it before anything is computed on a GPU. The global random generators are put back too.
    """
    state = random_state()
    enabled, only_warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    searching = torch.backends.cudnn.benchmark
    workspace = os.environ.get(_WORKSPACE)
    try:
        if deterministic:
            os.environ.setdefault(_WORKSPACE, ":4096:8")  # cuBLAS reads it when first used
            torch.use_deterministic_algorithms(True)
        yield
    finally:
        restore_random_state(state)
        torch.backends.cudnn.benchmark = searching
        if deterministic:
            torch.use_deterministic_algorithms(enabled, warn_only=only_warned)
            if workspace is None:
                os.environ.pop(_WORKSPACE, None)


def describe_device(device: torch.device) -> dict[str, Any]:
    """What a record says about the device: its name, and on a CPU the threads, since sums depend on their
    number.
    """
    if device.type == "cuda":
        return {"type": "cuda", "name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return {
        "type": device.type,
        "name": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }
