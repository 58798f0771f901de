"""Several processes: gradients averaged, evaluation rows gathered, each row counted once.

Lightning launches and connects the processes; the `DistributedDataParallel` wrapper is left out, because it cannot
reduce row-sparse gradients with NCCL and fails on models that leave a parameter unused in a batch.
"""

import os
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from fmlab.contracts import BlockResult
from fmlab.training.processes import LAUNCHER, Launch, loopback

_MOMENT = 2.0  # seconds that another process may take to stop by itself


def is_first_process() -> bool:
    """Whether this process writes files; true before and without any launch."""
    return getattr(rank_zero_only, "rank", 0) == 0


def take_rank(launch: Launch) -> None:
    """From now on `is_first_process` follows `launch`, not the variables that Lightning read when it was imported."""
    rank_zero_only.rank = launch.rank  # type: ignore[attr-defined]


def cluster(launch: Launch) -> ClusterEnvironment:
    """`launch` as Lightning takes it, so that it looks for no other cluster in the environment."""
    if launch.by == "torchrun":
        return TorchElasticEnvironment()
    if launch.by == "srun":
        return SLURMEnvironment(auto_requeue=False)  # requeueing would take SIGTERM and drop it
    return OwnProcesses(launch)


class OwnProcesses(LightningEnvironment):
    """One process, or several that fmlab starts: the first of each node starts the others."""

    def __init__(self, launch: Launch) -> None:
        super().__init__()
        self.launch = launch
        self.listener: socket.socket | None = None
        self._launches = 0
        self.set_global_rank(launch.rank)
        self.set_world_size(launch.world)
        if launch.world > 1 and not launch.is_child:
            os.environ[LAUNCHER] = str(os.getpid())

    @property
    def creates_processes_externally(self) -> bool:
        """Whether the others run already: they stay from training to test."""
        return self.launch.is_child or self._launches > 1

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Called at each launch."""
        self._launches += 1

    @property
    def main_address(self) -> str:
        """Where the first process listens: to this machine alone, unless there are others."""
        return "127.0.0.1" if self.launch.nodes == 1 else super().main_address

    @property
    def main_port(self) -> int:
        """A port that is held from the moment it is chosen."""
        if self.launch.nodes == 1 and not self.launch.is_child:
            if self._main_port == -1:
                self.listener = socket.create_server(("127.0.0.1", 0))
                self._main_port = int(self.listener.getsockname()[1])
            return self._main_port
        return super().main_port

    def local_rank(self) -> int:
        """Of this process on its node."""
        return self.launch.local_rank

    def node_rank(self) -> int:
        """Of this node."""
        return self.launch.node


class RowSparseDDP(DDPStrategy):
    """Lightning's `ddp` with gradients averaged by `sync_gradients` after each backward pass.

    Processes of one machine meet at an address that no other machine reaches; nobody who can reach it is asked for a
    password.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__(cluster_environment=cluster(launch))
        self.launch = launch

    def setup_distributed(self) -> None:
        """Connect the processes."""
        if self.launch.nodes > 1 or self.launch.by == "torchrun" or dist.is_initialized():
            super().setup_distributed()
            return
        assert self.cluster_environment is not None
        inside = loopback()
        for library in ("GLOO", "NCCL"):  # these listen as well
            if inside is not None:
                os.environ.setdefault(f"{library}_SOCKET_IFNAME", inside)
        self.set_world_ranks()
        self._process_group_backend = self._get_process_group_backend()
        on_gpu = self.root_device.type != "cpu"
        dist.init_process_group(
            self._process_group_backend,
            store=self._store(self.cluster_environment, self._timeout),
            rank=self.global_rank,
            world_size=self.world_size,
            timeout=self._timeout,
            device_id=self.root_device if on_gpu else None,
        )

    def _store(self, environment: ClusterEnvironment, timeout: timedelta | None) -> Store:
        first, port = self.launch.rank == 0, environment.main_port
        patience = timeout or timedelta(minutes=30)
        if not first:
            return TCPStore("127.0.0.1", port, self.launch.world, False, patience)
        listener = environment.listener if isinstance(environment, OwnProcesses) else None
        listener = listener or socket.create_server(("127.0.0.1", port))
        descriptor = listener.detach()  # the store closes it
        if isinstance(environment, OwnProcesses):
            environment.listener = None
        return TCPStore(
            "127.0.0.1", port, self.launch.world, True, patience, wait_for_workers=False, master_listen_fd=descriptor
        )

    def configure_ddp(self) -> None:
        """Start every process from the parameters and buffers of the first."""
        assert self.model is not None
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            dist.broadcast(tensor.data, 0)


@contextmanager
def ending_children(trainer: pl.Trainer) -> Iterator[None]:
    """However this process leaves the block by an exception, the processes that it started end too.

    Those that stop as it does have a moment for it. Lightning's observer, which kills this process when one of them
    ends with a status, has nothing to observe any more: what is left to do here takes its time.
    """
    try:
        yield
    except BaseException:
        started: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
        children = list(started)
        started.clear()
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(_MOMENT)
            child.kill()
            child.wait()
        raise


def sync_gradients(parameters: Iterable[nn.Parameter], request: int = 0) -> int:
    """Replace each gradient by its mean over processes, in place; gives the highest `request` of all processes.

    Dense gradients travel in one flat message, row-sparse ones as (row, value) lists. A parameter without a gradient
    in some process counts as zero there.
    """
    world, trained = dist.get_world_size(), [p for p in parameters if p.requires_grad]
    if not trained:
        return request
    device = trained[0].device
    # 0 no gradient, 1 dense, 2 row-sparse: a process whose batch missed a parameter must still take part.
    kind = torch.tensor(
        [request, *(0 if p.grad is None else 2 if p.grad.is_sparse else 1 for p in trained)],
        dtype=torch.int32,
        device=device,
    )
    dist.all_reduce(kind, dist.ReduceOp.MAX)
    agreed_request, *kinds = kind.tolist()
    dense = [p for p, k in zip(trained, kinds, strict=True) if k == 1]
    if dense:
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in dense])
        dist.all_reduce(flat)
        for p, mean in zip(dense, torch.split(flat / world, [p.numel() for p in dense]), strict=True):
            p.grad = mean.view_as(p)
    for p in (p for p, k in zip(trained, kinds, strict=True) if k == 2):
        rows = torch.empty(0, dtype=torch.int64, device=device) if p.grad is None else p.grad._indices()[0]
        values = p.new_empty((0, *p.shape[1:])) if p.grad is None else p.grad._values()
        index = gather(rows).unsqueeze(0)
        p.grad = torch.sparse_coo_tensor(index, gather(values) / world, p.shape, check_invariants=False)
    return agreed_request


def gather(rows: Tensor) -> Tensor:
    """`rows[n, ...]` of every process, concatenated in process order; n may differ."""
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    counts = [int(s) for s in sizes]
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([p[:n] for p, n in zip(parts, counts, strict=True)])


def gather_rows(
    outcomes: Sequence[BlockResult], names: list[str], device: torch.device
) -> tuple[Tensor, list[Tensor], list[str]]:
    """Units and columns of all processes; a process without blocks learns the column names from the others."""
    every: list[list[str] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(every, names)
    names = next((n for n in every if n), [])
    none = torch.empty(0, dtype=torch.int64, device=device)
    unit = gather(torch.cat([o.unit for o in outcomes]).to(device) if outcomes else none)
    columns = [
        gather(torch.cat([o.columns[n] for o in outcomes]).to(device) if outcomes else none.double()) for n in names
    ]
    return unit, columns, names
