"""Softmax over a positive and its sampled negatives."""

from typing import Annotated

from torch import Tensor

from fmlab.data.batch import Batch
from fmlab.nn.losses import mean_over_rows, require_candidates
from fmlab.nn.scoring import tempered_score
from fmlab.plugin.option import Range


class SampledSoftmax:
    """Minus the log-probability of the positive among itself and its sampled negatives.

    Paper: Jean, Cho, Memisevic, Bengio, On using very large target vocabulary for neural machine translation, ACL 2015;
    with temperature: Wu et al., On the effectiveness of sampled softmax loss for item recommendation, TOIS 2024

        -log(exp(z_0) / sum_j exp(z_j)),    z_j = s_j / temperature - log q_j

    with s_0 the score of the positive and log q_j the logarithm of the chance of item j to be drawn, where the sampler
    gives it (`sampler.log_q_correction`).
    """

    def __init__(
        self, *, temperature: Annotated[float, Range(0, None, open_low=True), "divisor of the scores"] = 1.0
    ) -> None:
        """A lower temperature looks at the highest negatives only."""
        self.temperature = temperature

    def __call__(self, model: object, batch: Batch) -> Tensor:
        """Scalar; raises FmlabError on labeled rows."""
        require_candidates(batch, "sampled_softmax")
        scores = tempered_score(model, batch, differences=True, temperature=self.temperature)
        return mean_over_rows(scores.logsumexp(-1) - scores[:, 0], "row", weight=batch.row_weight)
