"""Data sets: fields, schema, tables and interactions as NumPy arrays. Nothing here needs torch but `batch`."""

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
