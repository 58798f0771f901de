"""What adds the same to all candidates of a query has no gradient under a loss of differences, not even by rounding."""

from itertools import product

import pytest
import torch

from fmlab.nn.scoring import score
from fmlab.plugin.registry import build
from fmlab.testing.building import candidates, tiny

TABLED = ("mf", "fm", "deepfm", "nfm")  # a row of their table begins with the weight of its feature
LOSSES = [{"name": "bpr"}, {"name": "hinge"}]


@pytest.mark.parametrize(("name", "loss"), [*product((*TABLED, "gmlfm", "deeplight"), LOSSES[:1]), ("fm", LOSSES[1])])
def test_biases_that_cancel_stay_where_they_are(name: str, loss: dict) -> None:
    data = tiny("interactions")
    torch.manual_seed(0)
    model = build("model", {"name": name}, data.schema)
    compare, batch = build("loss", loss), candidates(data, negatives=7)
    optimizer = build("optimizer", {"name": "adam", "lr": 0.01}, model.parameters())
    found = [p for n, p in model.named_parameters() if n == "bias"]
    if name == "mf":
        found.append(model.tables.user.weight[:, :1])
    elif name in TABLED:
        found.append(model.table.weight[: data.schema.offsets[2], :1])  # two fields of the user come first
    before = [b.detach().clone() for b in found]
    assert before
    for _ in range(10):
        optimizer.zero_grad()
        torch.autograd.backward(compare(model, batch))
        optimizer.step()
    for old, new in zip(before, found, strict=True):
        assert torch.equal(old, new.detach())


@pytest.mark.parametrize("name", ["mf", "fm", "gmlfm", "nfm", "deepfm", "hyperml", "cml", "neumf", "lorentzfm"])
def test_differences_of_scores_are_those_of_whole_scores(name: str) -> None:
    data = tiny("interactions")
    torch.manual_seed(0)
    model = build("model", {"name": name}, data.schema).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.rand_like(p))
    batch = candidates(data, negatives=5)
    score(model.train(), batch, differences=True)
    assert model.training
    model.eval()
    whole, part = score(model, batch), score(model, batch, differences=True)
    torch.testing.assert_close(part - part[:, :1], whole - whole[:, :1])
