"""Each loss against its formula, written out for a batch of two positives with two negatives."""

import math

import numpy as np
import pytest
import torch
from fmlab_losses.bce import BCE
from fmlab_losses.bpr import BPR
from fmlab_losses.hinge import Hinge
from fmlab_losses.squared import Squared
from fmlab_models.cml import CML
from fmlab_models.fm import FM
from fmlab_models.hyperml import HyperML
from torch import Tensor, nn

from fmlab.data.batch import Batch, Features, Tables
from fmlab.errors import DataError, FmlabError
from fmlab.testing import candidates, labeled, tiny

SCORES = [[0.7, -1.2, 0.4], [-0.3, 2.5, -0.9]]


class _Fixed(nn.Module):
    """Scores row b, item j of SCORES, whatever the features."""

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        table = torch.tensor(SCORES, dtype=torch.float64)
        return table[ids[..., 0].long(), ids[..., 1].long()]


@pytest.fixture
def batch() -> Batch:
    tables = Tables(Features(torch.tensor([[0], [1]])), Features(torch.tensor([[0], [1], [2]])))
    item = torch.tensor([[0, 1, 2], [0, 1, 2]])
    return Batch(tables, torch.tensor([0, 1]), item, None, torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]))


@pytest.fixture
def rows() -> Batch:
    tables = Tables(Features(torch.tensor([[0], [1]])), Features(torch.tensor([[0], [1], [2]])))
    return Batch(tables, torch.tensor([0, 1, 1]), torch.tensor([1, 1, 2]), None, torch.tensor([1.0, 0.25, 0.0]))


def _log_loss(s: float, y: float) -> float:
    p = 1 / (1 + math.exp(-s))
    return -y * math.log(p) - (1 - y) * math.log(1 - p)


def test_bce_sums_over_negatives_or_averages(batch: Batch) -> None:
    total = sum(_log_loss(s, float(j == 0)) for row in SCORES for j, s in enumerate(row))
    assert BCE()(_Fixed(), batch).item() == pytest.approx(total / 2)
    assert BCE(reduction="mean")(_Fixed(), batch).item() == pytest.approx(total / 6)


def test_bce_of_labelled_rows_takes_labels_between_0_and_1(rows: Batch) -> None:
    expected = (_log_loss(-1.2, 1) + _log_loss(2.5, 0.25) + _log_loss(-0.9, 0)) / 3
    for reduction in ("row", "mean"):
        assert BCE(reduction=reduction)(_Fixed(), rows).item() == pytest.approx(expected)


@pytest.mark.parametrize("labels", [[-1.0, 1.0], [0.0, 5.0], [float("nan"), 1.0]])
def test_bce_refuses_other_labels_before_training(labels: list[float]) -> None:
    with pytest.raises(DataError, match=r"labels in \[0, 1\]"):
        BCE().check(np.array(labels, np.float32))
    BCE().check(np.array([0, 1, 0.5], np.float32))
    BCE().check(np.array([], np.float32))


def test_bpr_is_the_log_probability_of_the_right_order(batch: Batch) -> None:
    total = -sum(math.log(1 / (1 + math.exp(n - row[0]))) for row in SCORES for n in row[1:])
    assert BPR()(_Fixed(), batch).item() == pytest.approx(total / 2)
    assert BPR(reduction="mean")(_Fixed(), batch).item() == pytest.approx(total / 4)


def test_squared_is_the_squared_error(batch: Batch, rows: Batch) -> None:
    total = sum((s - float(j == 0)) ** 2 for row in SCORES for j, s in enumerate(row))
    assert Squared()(_Fixed(), batch).item() == pytest.approx(total / 2)
    assert Squared(reduction="mean")(_Fixed(), batch).item() == pytest.approx(total / 6)
    assert Squared()(_Fixed(), rows).item() == pytest.approx(((-1.2 - 1) ** 2 + (2.5 - 0.25) ** 2 + 0.81) / 3)


def test_hinge_counts_what_lacks_to_the_margin(batch: Batch) -> None:
    total = sum(max(0.0, 0.5 + n - row[0]) for row in SCORES for n in row[1:])
    assert Hinge(margin=0.5)(_Fixed(), batch).item() == pytest.approx(total / 2)
    assert Hinge(margin=0.5, reduction="mean")(_Fixed(), batch).item() == pytest.approx(total / 4)


@pytest.mark.parametrize("curvature", [0.5, 2.0])
def test_distortion_compares_distances_in_the_ball_with_euclidean_ones(curvature: float) -> None:
    torch.manual_seed(0)
    dataset = tiny("interactions")
    model, batch = HyperML(dataset.schema, dim=3, curvature=curvature).double(), candidates(dataset)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.2 * torch.randn_like(p))
    assert batch.user is not None
    assert batch.item is not None
    user, item = model.tables.user.weight[1:], model.tables.item.weight[1:]
    hinges, distortions = [], []
    for u, items in zip(batch.user.tolist(), batch.item.tolist(), strict=True):
        flat = [float((user[u] - item[i]).norm().detach()) for i in items]
        far = [float(model.manifold.dist(user[u], item[i]).detach()) for i in items]
        hinges.append(sum(max(0.0, 0.2 + far[0] ** 2 - d**2) for d in far[1:]))
        distortions += [abs(d - e) / e for d, e in zip(far, flat, strict=True)]
    plain, mixed = Hinge(margin=0.2)(model, batch), Hinge(margin=0.2, distortion_weight=0.75)(model, batch)
    assert plain.item() == pytest.approx(np.mean(hinges))
    assert mixed.item() == pytest.approx(np.mean(hinges) + 0.75 * np.mean(distortions))


def test_flat_space_is_not_distorted() -> None:
    dataset = tiny("interactions")
    model, batch = CML(dataset.schema, dim=3).double(), candidates(dataset)
    plain, mixed = Hinge()(model, batch), Hinge(distortion_weight=1.0)(model, batch)
    assert mixed.item() == pytest.approx(plain.item(), abs=1e-12)


def test_points_that_meet_add_no_distortion_and_no_infinite_gradient() -> None:
    dataset = tiny("interactions")
    model, batch = HyperML(dataset.schema, dim=3), candidates(dataset)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.1)
    loss = Hinge(margin=0.0, distortion_weight=1.0)(model, batch)
    loss.backward()
    assert loss.item() == 0
    assert all(torch.isfinite(p.grad.to_dense()).all() for p in model.parameters() if p.grad is not None)


def test_distortion_of_a_model_without_points_is_refused() -> None:
    dataset = tiny("interactions")
    with pytest.raises(FmlabError, match="needs a metric model"):
        Hinge(distortion_weight=0.1)(FM(dataset.schema), candidates(dataset))


@pytest.mark.parametrize(("name", "loss"), [("bpr", BPR()), ("hinge", Hinge())])
def test_losses_of_candidates_name_the_protocols_that_make_them(name: str, loss: BPR | Hinge) -> None:
    dataset = tiny("interactions")
    with pytest.raises(FmlabError, match=rf"{name} compares .*\(full_ranking, leave_one_out\)"):
        loss(FM(dataset.schema), labeled(dataset))
