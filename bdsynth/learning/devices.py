"""Which devices to compute on."""

__all__ = ["make_fabric", "resolve_devices"]

import atexit
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from bdsynth.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def resolve_devices(gpu: Sequence[int]) -> list[int] | None:
    """The CUDA devices that ``--gpu`` asks for; None is the CPU.

    ``[-1]`` asks for the CPU. Where there is no CUDA device at all, the CPU is used whatever
    was asked, and a line on stderr says so.

    Raises:
        InputError: a device is asked for that is not there, or twice; names those there are.
    """
    devices = list(gpu)
    if devices == [-1]:
        return None
    if not torch.cuda.is_available():
        print("no CUDA device here: computing on the CPU", file=sys.stderr)
        return None
    available = range(torch.cuda.device_count())
    if not devices or len(set(devices)) < len(devices) or not set(devices) <= set(available):
        there = " ".join(map(str, available))
        asked = " ".join(map(str, devices))
        raise InputError(f"--gpu {asked}: should name devices out of {there}, or -1 for the CPU")
    return devices


def make_fabric(devices: Sequence[int] | None, precision: str) -> "Fabric":
    """Fabric on these CUDA devices or the CPU, launched.

    Several devices are one process each. Under torchrun its processes are used, on as many
    machines as it started.
    """
    from lightning_fabric import Fabric

    on_cpu = devices is None or list(devices) == [-1]
    fabric = Fabric(
        accelerator="cpu" if on_cpu else "cuda",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if on_cpu else list(devices),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),
        precision=precision,
    )
    fabric.launch()
    if fabric.world_size > 1:
        atexit.register(_leave_group)
    return fabric


def _leave_group() -> None:
    """Ends the threads that talk to the other processes; the interpreter aborts where they outlive it."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
