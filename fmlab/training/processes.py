"""Which processes a run has, and which of them this one is.

A run is one process unless `trainer.devices` and `trainer.num_nodes` say otherwise, whatever variables of SLURM,
torchrun or an earlier launch the environment holds. What several processes are started by, in this order: fmlab
itself, `torchrun`, `srun`.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fmlab.errors import FmlabError

LAUNCHER = "FMLAB_LAUNCHER"  # in the environment of a process that fmlab started for another device: who started it


@dataclass(frozen=True)
class Launch:
    """`by`: who started the processes. `rank` of this process among all `world`, 0 is the first."""

    by: Literal["fmlab", "torchrun", "srun"]
    world: int
    nodes: int
    rank: int = 0
    local_rank: int = 0
    node: int = 0

    @property
    def is_child(self) -> bool:
        """Whether fmlab itself started this process for another device."""
        return self.by == "fmlab" and self.local_rank > 0


def launch_of(options: Mapping[str, Any], environment: Mapping[str, str], parent: int) -> Launch:
    """The processes that the trainer's `options` ask for; `parent`: the id of the process that started this one.

    Raises FmlabError if torchrun started another number of them, or fmlab started this one and was killed since.
    """
    devices, nodes = count_devices(options), int(options.get("num_nodes", 1))
    world = devices * nodes
    child = is_child(environment)
    if child and environment[LAUNCHER] != str(parent):
        raise FmlabError(f"process {environment[LAUNCHER]}, which started this one for another device, has ended")
    local = int(environment["LOCAL_RANK"]) if child else 0
    if world == 1 or child:
        node = _number(environment, "NODE_RANK") if nodes > 1 else 0
        return Launch("fmlab", world, nodes, node * devices + local, local, node)
    if "TORCHELASTIC_RUN_ID" in environment:
        started = _number(environment, "WORLD_SIZE")
        if started != world:
            raise FmlabError(
                f"torchrun must start trainer.devices x trainer.num_nodes = {devices} x {nodes} processes, "
                f"got {started}"
            )
        rank, local = _number(environment, "RANK"), _number(environment, "LOCAL_RANK")
        return Launch("torchrun", world, nodes, rank, local, _number(environment, "GROUP_RANK"))
    if _number(environment, "SLURM_STEP_NUM_TASKS") == world:  # a step of srun; a batch script runs once
        rank, local = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_LOCALID")
        return Launch("srun", world, nodes, rank, local, _number(environment, "SLURM_NODEID"))
    node = _number(environment, "NODE_RANK") if nodes > 1 else 0
    return Launch("fmlab", world, nodes, node * devices, 0, node)


def is_child(environment: Mapping[str, str]) -> bool:
    """Whether fmlab started this process for another device. A LOCAL_RANK alone says nothing: it may be anybody's."""
    return LAUNCHER in environment and _number(environment, "LOCAL_RANK") > 0


def count_devices(options: Mapping[str, Any]) -> int:
    """Processes on a node: one a device."""
    devices = options["devices"]
    if devices == "auto":
        import torch

        gpus = torch.cuda.device_count() if options["accelerator"] in ("auto", "gpu") else 0
        return max(1, gpus)
    return int(devices) if isinstance(devices, int | str) else len(devices)


def loopback() -> str | None:
    """The name of the interface that only this machine reaches."""
    names = [name for _, name in socket.if_nameindex()]
    return next((n for n in names if n.startswith("lo")), None)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else 0


def this_launch(options: Mapping[str, Any]) -> Launch:
    """`launch_of` for this process; the one place that reads the environment for it."""
    return launch_of(options, os.environ, os.getppid())
