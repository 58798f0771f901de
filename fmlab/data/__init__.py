"""Data sets: fields, schema, tables and interactions as NumPy arrays.

What this package imports itself needs no torch. These modules of it do: `auxiliary_inputs`, `batch`, `features`,
`histories`, `model_inputs`, `negative_sampling`, `weighted_sampling`.
"""

from fmlab.data.dataset import (
    Dataset,
    FieldEncoding,
    PlantedScores,
    PositivesRule,
    PreparationStep,
    PublishedFigure,
    Ragged,
    Table,
)
from fmlab.data.schema import SECOND, SIDES, Array, Field, Schema, Side

__all__ = [
    "SECOND",
    "SIDES",
    "Array",
    "Dataset",
    "Field",
    "FieldEncoding",
    "PlantedScores",
    "PositivesRule",
    "PreparationStep",
    "PublishedFigure",
    "Ragged",
    "Schema",
    "Side",
    "Table",
]
