"""Several processes: gradients averaged, evaluation rows gathered, each row counted once.

Lightning launches and connects the processes; the `DistributedDataParallel` wrapper is left out, because it cannot
reduce row-sparse gradients with NCCL and fails on models that leave a parameter unused in a batch.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from fmlab.protocols import Outcome


def is_first_process() -> bool:
    """Whether this process writes files; true before and without any launch."""
    return getattr(rank_zero_only, "rank", 0) == 0


class RowSparseDDP(DDPStrategy):
    """Lightning's `ddp` with gradients averaged by `sync_gradients` after each backward pass."""

    def configure_ddp(self) -> None:
        """Start every process from the parameters and buffers of the first."""
        assert self.model is not None
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            dist.broadcast(tensor.data, 0)


def sync_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over processes, in place.

    Dense gradients travel in one flat message, row-sparse ones as (row, value) lists. A parameter without a gradient
    in some process counts as zero there.
    """
    world, trained = dist.get_world_size(), [p for p in parameters if p.requires_grad]
    if not trained:
        return
    device = trained[0].device
    # 0 no gradient, 1 dense, 2 row-sparse: a process whose batch missed a parameter must still take part.
    kind = torch.tensor(
        [0 if p.grad is None else 2 if p.grad.is_sparse else 1 for p in trained], dtype=torch.int32, device=device
    )
    dist.all_reduce(kind, dist.ReduceOp.MAX)
    kinds = kind.tolist()
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
    outcomes: Sequence[Outcome], names: list[str], device: torch.device
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
