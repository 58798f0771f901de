"""The pull-and-push loss of metric learning, and its distortion penalty."""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fmlab.contracts import ManifoldEmbeddings
from fmlab.data.batch import Batch
from fmlab.errors import FmlabError
from fmlab.nn.losses import mean_over_rows, require_candidates
from fmlab.nn.scoring import item_states, less_log_q, score
from fmlab.plugin.option import Range, Renamed

SMALLEST = 1e-6


class Hinge:
    """`[margin + s_neg - s_pos]_+`, where the score of a metric model is minus a squared distance.

    Paper: Vinh Tran et al., HyperML, WSDM 2020, equations 11 to 13; Hsieh et al., Collaborative metric learning,
    WWW 2017, without its weights by rank.

    With `distortion_weight` > 0 (gamma of equation 13), that many times the mean over all pairs, positive and negative,
    of `|d - e| / e` is added (equation 12), `d` the distance on the model's manifold and `e` the Euclidean distance of
    the same coordinates. As a guard, `e` in the denominator is at least 1e-6: points that meet add 0.
    """

    def __init__(
        self,
        *,
        margin: Annotated[float, Range(0, None), "margin between a positive and a negative score"] = 0.5,
        distortion_weight: Annotated[
            float,
            Range(0, None),
            "weight of the penalty on distances that the manifold distorts",
            Renamed("distortion"),
        ] = 0.0,
        reduction: Annotated[
            Literal["row", "mean"], "row sums the terms of a positive over its negatives, mean averages them"
        ] = "row",
    ) -> None:
        """The hinges of one positive are summed over its negatives ("row") or averaged ("mean")."""
        self.margin, self.distortion_weight, self.reduction = margin, distortion_weight, reduction

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """Scalar; raises FmlabError on labeled rows, or if `distortion_weight` is asked of a model without points."""
        require_candidates(batch, "hinge")
        if not self.distortion_weight:
            return self._hinges(score(model, batch, differences=True), batch)
        if not isinstance(model, ManifoldEmbeddings):
            raise FmlabError(
                "hinge.distortion_weight compares distances of points and needs a metric model (hyperml, cml), got "
                f"{type(model).__name__}; set distortion_weight=0"
            )
        user = batch.of_query(model, model.user_points).unsqueeze(1)
        (item,) = item_states(model.item_points, batch)
        distance = model.manifold.dist(user, item)
        flat = torch.linalg.vector_norm(user - item, dim=-1)
        bent = mean_over_rows(_distortion(distance, flat), "mean", weight=batch.row_weight)
        return self._hinges(-distance.square(), batch) + self.distortion_weight * bent

    def _hinges(self, scores: Tensor, batch: Batch) -> Tensor:
        scores = less_log_q(scores, batch)
        return mean_over_rows(
            (self.margin + scores[:, 1:] - scores[:, :1]).relu(), self.reduction, weight=batch.row_weight
        )


def _distortion(distance: Tensor, flat: Tensor) -> Tensor:
    return (distance - flat).abs() / flat.clamp_min(SMALLEST)
