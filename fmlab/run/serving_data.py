"""What a run folder keeps of the data, so that its model is used without them; `serving_file` writes and reads it.

That is the fitted encoder (schema, vocabularies, how raw text is read, the side tables), what every user has met, how
often items were trained on, and the scale of scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fmlab.contracts import Task
from fmlab.data import Array, Dataset, FieldEncoding, Schema, Side, Table
from fmlab.data.derived_fields import DerivedFields
from fmlab.data.encoding.fitted_encoder import Encoder
from fmlab.errors import DataError
from fmlab.evaluation.output_transform import OutputTransform
from fmlab.run.seen_items import Seen, popularity_of, seen_of
from fmlab.run.serving_inputs import ServingInputs

NO_NAMES: Mapping[str, bool] = MappingProxyType({})


@dataclass(frozen=True)
class ServingData:
    """The data as a trained model needs them. `fingerprint` says which they were.

    `inputs`: how the raw text of each field is read. `keys`: the values of each field, in feature order without the
    unknown one; "present" of a numeric field. `popularity`: training interactions of every item. `log_odds`: whether
    the model's output is the logarithm of the odds of label 1. `derived`: the fields that are made of the others.
    `targets`: names of several targets that the model gives a score of each; empty where there is one.
    `model_inputs`: what a model needs that asks for more than features.
    """

    name: str
    fingerprint: str
    schema: Schema
    inputs: Mapping[str, FieldEncoding]
    keys: Mapping[str, Array]
    users: Table | None
    items: Table | None
    seen: Seen | None
    popularity: Array | None
    scale: OutputTransform
    log_odds: bool
    derived: DerivedFields | None = None
    targets: tuple[str, ...] = ()
    model_inputs: ServingInputs | None = None

    @property
    def trained(self) -> Schema:
        """The schema that the model was trained on: wider than that of the data, where fields were derived."""
        return self.schema if self.derived is None else self.derived.schema

    @property
    def has_context(self) -> bool:
        """Whether a query is more than a user."""
        return any(f.side == "context" for f in self.schema.fields)

    def id_field(self, side: Side) -> str:
        """The field that names the users, or the items."""
        return next(f.name for f in self.schema.fields if f.side == side)

    def encoder(self) -> Encoder:
        """The fitted encoder."""
        unread = () if self.derived is None else self.derived.unread
        return Encoder(self.schema, self.inputs, self.keys, self.users, self.items, unread)

    @classmethod
    def of(
        cls,
        source: Dataset,
        task: Task,
        *,
        log_odds: bool,
        scale: OutputTransform | None = None,
        derived: DerivedFields | None = None,
        names: Mapping[str, bool] = NO_NAMES,
    ) -> "ServingData":
        """Of a task, and the data set before its protocol left out rows; raises DataError where keys are missing.

        `scale`: that of the labels, None where the loss saw them as they are. `names`: what the model asks for.
        """
        data = task.dataset
        if missing := [f.name for f in data.schema.fields if not f.numeric and f.name not in data.keys]:
            raise DataError(f"the data set {data.name!r} has no keys of {', '.join(missing)}")
        return cls(
            name=data.name,
            fingerprint=data.fingerprint,
            schema=data.schema,
            inputs={f.name: data.input(f.name) for f in data.schema.fields},
            keys=data.keys,
            users=data.users,
            items=data.items,
            seen=seen_of(source, task),
            popularity=popularity_of(task),
            scale=scale or OutputTransform(),
            log_odds=log_odds,
            derived=derived,
            targets=() if task.training.negatives else tuple(data.targets),
            model_inputs=ServingInputs.of(task, names),
        )
