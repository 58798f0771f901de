"""Several trained models as one: a weighted sum of their scores, kept as `ensemble.json` beside the members."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.contracts import is_two_sided
from fmlab.data import Schema
from fmlab.errors import FmlabError, StorageError
from fmlab.evaluation.output_transform import output_transform_of, set_output_transform
from fmlab.records.folder import BEST, CHECKPOINTS, SERVING
from fmlab.run.locate import Located
from fmlab.run.serving_file import read_serving_data
from fmlab.serving.loaded_run import LoadedRun
from fmlab.untrusted.parsing import read_json

MEMBERS = "members"
LAYOUT = 1
MOST = 1000
_NAME = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Weights:
    """What `ensemble.json` says: the weight of each member, by its name, and how the sum becomes a score.

    `ranks`: the sum is of scores before links, and orders items.
    """

    weights: dict[str, float]
    scale: float = 1.0
    bias: float = 0.0
    ranks: bool = False


class Ensemble(nn.Module):
    """`scale * sum(weight * score) + bias` of models that are asked for the same rows."""

    def __init__(self, members: Sequence[nn.Module], weights: Sequence[float], scale: float, bias: float) -> None:
        """Members have one scale of labels."""
        super().__init__()
        self.members, self.weights = nn.ModuleList(members), [scale * w for w in weights]
        self.bias = bias
        set_output_transform(self, output_transform_of(members[0]))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        found = [w * member(ids, values) for w, member in zip(self.weights, self.members, strict=True)]
        return sum(found[1:], found[0]) + self.bias


class RankingEnsemble(nn.Module):
    """`sum(weight * z)` of models that rank items; `z` is a two-sided model's score before its link, else its score.

    Where all of them are two-sided, so is the sum, exactly: their vectors stand one after the other.
    """

    def __init__(self, members: Sequence[nn.Module], weights: Sequence[float], schema: Schema) -> None:
        """`schema`: that of the rows of all members."""
        super().__init__()
        self.query, self.item = schema.query, schema.item
        self.members, self.weights = nn.ModuleList(members), list(weights)

    def scorers(self) -> Sequence[str]:
        """Two sides where all members have them."""
        return ("two-tower",) if all(is_two_sided(m) for m in self.members) else ()

    def summands(self) -> Sequence[tuple[float, Any]]:
        """Weights and models."""
        return list(zip(self.weights, self.members, strict=True))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        found = [w * self._before_link(m, ids, values) for w, m in self.summands()]
        return sum(found[1:], found[0])

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The weighted bias and vector of all members."""
        found = [(w, m.encode_query(ids, values)) for w, m in self.summands()]
        vectors = torch.cat([w * vector for w, (_, vector) in found], -1)
        return sum(w * bias for w, (bias, _) in found), vectors

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The weighted bias and the vector of all members."""
        found = [(w, m.encode_item(ids, values)) for w, m in self.summands()]
        return sum(w * bias for w, (bias, _) in found), torch.cat([vector for _, (_, vector) in found], -1)

    def link(self, z: Tensor) -> Tensor:
        """The identity."""
        return z

    def _before_link(self, model: nn.Module, ids: Tensor, values: Tensor | None) -> Tensor:
        if not is_two_sided(model):
            return model(ids, values)
        query, item = self.query, self.item
        left, right = (None if values is None else values[..., part] for part in (query, item))
        (a, u), (b, v) = model.encode_query(ids[..., query], left), model.encode_item(ids[..., item], right)
        return a + b + (u * v).sum(-1)


def read_weights(path: Path) -> Weights:
    """The file of an ensemble; raises StorageError for what it cannot be."""
    try:
        stored = read_json(path)
        weights = {str(name): float(w) for name, w in stored["weights"].items()}
        found = Weights(weights, float(stored["scale"]), float(stored["bias"]), stored.get("ranks") is True)
        numbers = [*weights.values(), found.scale, found.bias]
        named = all(_NAME.fullmatch(name) for name in weights)
        if (
            stored["layout"] != LAYOUT
            or not named
            or not 1 <= len(weights) <= MOST
            or not all(map(math.isfinite, numbers))
        ):
            raise ValueError("weights are numbers by the number of a trial")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(f"{path} is malformed: {error}") from error
    return found


def load_ensemble(place: Located, load: Callable[[Path], LoadedRun]) -> LoadedRun:
    """The ensemble of a folder, whose members `load` reads.

    Raises StorageError, and FmlabError where members are not of one kind.
    """
    found = read_weights(place.checkpoint)
    folder = place.folder
    runs = [load(folder / MEMBERS / name / CHECKPOINTS / BEST) for name in found.weights]
    data = replace(read_serving_data(folder / SERVING), derived=None)
    data = replace(data, log_odds=False) if found.ranks else data
    for run in runs:
        if (run.data.schema, run.data.fingerprint) != (data.schema, data.fingerprint):
            raise FmlabError(f"{run.folder} and {folder / SERVING} must be of the same data")
        if not found.ranks and (run.data.scale, run.data.log_odds) != (data.scale, data.log_odds):
            raise FmlabError(f"members of an ensemble must score on one scale, {run.folder} does not")
    models, weights = [r.model for r in runs], list(found.weights.values())
    ranking = RankingEnsemble(models, weights, data.schema) if found.ranks else None
    model = (ranking or Ensemble(models, weights, found.scale, found.bias)).eval()
    identity: dict[str, Any] = {**runs[0].identity, "model": {"name": "ensemble"}, "schema": data.schema.to_dict()}
    return LoadedRun(folder, place.checkpoint, identity, model, data)
