"""A listwise loss over a positive and its sampled negatives."""

from typing import Annotated, Any

from torch import Tensor

from fmlab.api import Batch, Range, mean_over_rows, require_candidates, tempered_score


class Listwise:
    """Minus the log-probability of the positive among itself and its sampled negatives.

    Source: Jean, Cho, Memisevic, Bengio, On using very large target vocabulary for neural machine translation,
        ACL 2015.

    -log(exp(s_0 / t) / sum_j exp(s_j / t)), with s_0 the positive's score and t the temperature. Where the sampler
    tells the chances of items, their logarithms are subtracted from the scores.
    """

    def __init__(self, *, temperature: Annotated[float, Range(0, None, open_low=True)] = 1.0) -> None:
        """A lower temperature looks at the highest negatives only."""
        self.temperature = temperature

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """Scalar; raises FmlabError on labeled rows."""
        require_candidates(batch, "listwise")
        scores = tempered_score(model, batch, differences=True, temperature=self.temperature)
        return mean_over_rows(scores.logsumexp(-1) - scores[:, 0], "row", weight=batch.row_weight)
