"""Models of rows with derived fields, or without ignored ones, that score rows as the data have them, for serving."""

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.data import Table
from fmlab.data.batch import as_features
from fmlab.data.derived_fields import DerivedFields
from fmlab.data.kept_fields import KeptFields
from fmlab.evaluation.output_transform import output_transform_of, set_output_transform


class DerivedFieldsModel(nn.Module):
    """Makes the derived fields of rows, on the CPU, and scores the rows with them."""

    def __init__(self, model: nn.Module, derived: DerivedFields) -> None:
        """`model` takes rows of `derived.schema`."""
        super().__init__()
        self.model = model
        self.__dict__["derived"] = derived
        set_output_transform(self, output_transform_of(model))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` of the base schema -> scores `[*batch]`."""
        rows = ids.reshape(-1, ids.shape[-1]).cpu().numpy()
        numbers = None if values is None else np.asarray(values.reshape(rows.shape).cpu().numpy(), np.float32)
        wide = as_features(self.__dict__["derived"].with_fields(Table(rows, numbers))).to(ids.device)
        scores: Tensor = self.model(*wide) if len(rows) else torch.zeros(0)
        return scores.view(ids.shape[:-1])


class KeptFieldsModel(nn.Module):
    """Leaves the fields out of rows that a model does not get."""

    columns: Tensor
    lower: Tensor

    def __init__(self, model: nn.Module, kept: KeptFields) -> None:
        """`model` takes rows of `kept.schema`."""
        super().__init__()
        self.model, self.numeric = model, kept.schema.numeric
        self.register_buffer("columns", torch.from_numpy(kept.columns), persistent=False)
        self.register_buffer("lower", torch.from_numpy(kept.lower), persistent=False)
        set_output_transform(self, output_transform_of(model))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` of all fields -> scores `[*batch]`."""
        given = None if values is None or not self.numeric else values[..., self.columns]
        scores: Tensor = self.model(ids[..., self.columns] - self.lower, given)
        return scores


def model_of_base_rows(model: nn.Module, derived: DerivedFields | None) -> nn.Module:
    """The model for rows of the data set, which lack the derived fields and have those that are ignored."""
    if derived is None:
        return model
    made = DerivedFieldsModel(model, derived) if derived.adds else KeptFieldsModel(model, derived.kept)
    return made.eval()
