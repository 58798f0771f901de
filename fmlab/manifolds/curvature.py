"""A curvature that is learned."""

import torch
from torch import Tensor, nn


class LearnedCurvature(nn.Module):
    """A positive number that is trained: the exponential of its one parameter, so that no step makes it negative."""

    def __init__(self, start: float) -> None:
        """`start`: the number before training, positive."""
        super().__init__()
        self.log = nn.Parameter(torch.tensor(float(start), dtype=torch.float64).log().float())

    def forward(self) -> Tensor:
        """The number, a scalar."""
        return self.log.exp()
