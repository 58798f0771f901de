"""Boosted trees, grown by the libraries that are known for them."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.contracts import Fitting, LabelledRows
from fmlab.data import Array, Schema
from fmlab.errors import FmlabError, StorageError
from fmlab.plugin.option import Range, Renamed


class _Trees(nn.Module):
    """Trees as a model: columns of a row are categories or numbers, and what is kept is the library's own file.

    A column of a categorical field holds the place of a feature in its field, 0 for the unknown one. A column of a
    numeric field holds the number, or nothing where it is missing.
    """

    library: Any
    kept: bytes

    @staticmethod
    def n_parameters(schema: Schema, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 0

    def __init__(self, schema: Schema, package: str) -> None:
        super().__init__()
        try:
            self.library = import_module(package)
        except ImportError:
            raise FmlabError(f"model {package} needs the package {package}: pip install 'fmlab[automl]'") from None
        self.kept, self._grown = b"", None
        fields = [schema.fields[f] for f in schema.column_field]
        self.first = np.array([schema.offsets[f] for f in schema.column_field])
        self.numeric = [f.numeric for f in fields]
        self.sizes = [f.size for f in fields]

    def columns(self, ids: Tensor, values: Tensor | None) -> list[Array]:
        """Of rows `ids[n, columns]`, each column: int32 places in a categorical field, float32 numbers or NaN."""
        place = ids.detach().cpu().numpy() - self.first
        found = []
        for at, numeric in enumerate(self.numeric):
            column = place[:, at]
            if numeric:
                number = np.ones(len(column), np.float32) if values is None else values[:, at].detach().cpu().numpy()
                column = np.where(column > 0, number, np.nan).astype(np.float32)
            found.append(column if numeric else column.astype(np.int32))
        return found

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`; 0 until the trees are grown."""
        if not self.kept:
            return torch.zeros(ids.shape[:-1], device=ids.device)
        if self._grown is None:
            self._grown = self._read(self.kept)
        rows = ids.reshape(-1, ids.shape[-1])
        scores = self._scores(self._grown, self.columns(rows, None if values is None else values.reshape(rows.shape)))
        return torch.from_numpy(np.asarray(scores, np.float32)).view(ids.shape[:-1]).to(ids.device)

    def get_extra_state(self) -> Tensor:
        """The library's file, uint8[bytes]."""
        return torch.from_numpy(np.frombuffer(self.kept, np.uint8).copy())

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of `get_extra_state`; raises StorageError for what is no such file."""
        self.kept = np.asarray(state.cpu().numpy(), np.uint8).tobytes()
        self._grown = self._read(self.kept) if self.kept else None

    def _read(self, kept: bytes) -> Any:
        try:
            return self._load(kept)
        except Exception as error:
            text = str(error).split("\n")[0]
            raise StorageError(f"the trees of a {type(self).__name__} cannot be read: {text}") from error

    def _load(self, kept: bytes) -> Any:
        raise NotImplementedError

    def _scores(self, grown: Any, columns: list[Array]) -> Array:
        raise NotImplementedError


class CatBoost(_Trees):
    """Boosted oblivious trees on ordered target statistics of categories and of their combinations.

    Paper: Prokhorenkova et al., CatBoost: unbiased boosting with categorical features, NeurIPS 2018.

    A category, and a combination of up to `combinations` of them, is read as the mean label of the training rows that
    stand before the row in a random order, so that no row sees its own label. Trees are `depth` levels deep; up to
    `rounds` are grown, and growing ends after `patience` rounds without a better validation loss. Each slot of a
    multi-valued field is a column. Needs `pip install "fmlab[automl]"`.

    Fitted: the trees are the library's
    Cost: O(rounds depth)
    Test: tests/models/test_trees.py::test_scores_are_those_of_the_library
    Family: trees
    """

    defaults = {"target_statistics_as": "numbers", "optimizer": None}
    space = {
        "depth": {"int": [4, 10]},
        "lr": {"float": [0.03, 0.5], "log": True},
        "l2": {"float": [0.1, 30.0], "log": True},
        "combinations": {"int": [1, 4]},
    }

    def __init__(
        self,
        schema: Schema,
        *,
        rounds: Annotated[int, Range(1, None), "most trees"] = 1000,
        depth: Annotated[int, Range(1, 16), "depth of the trees"] = 6,
        lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 0.2,
        l2: Annotated[float, Range(0, None), "weight of the squared norm of the parameters"] = 3.0,
        combinations: Annotated[int, Range(1, 8), "most categories that are combined into one"] = 2,
        one_hot: Annotated[int, Range(1, 255), "most values of a column that is encoded one-hot"] = 2,
        patience: Annotated[
            int, Range(1, None), "rounds without a better validation loss after which growing stops"
        ] = 20,
    ) -> None:
        """`one_hot`: fields of at most so many values are taken value by value, without statistics."""
        super().__init__(schema, "catboost")
        self.patience = patience
        self.options = {
            "iterations": rounds,
            "depth": depth,
            "learning_rate": lr,
            "l2_leaf_reg": l2,
            "max_ctr_complexity": combinations,
            "one_hot_max_size": one_hot,
            "model_size_reg": 0.0,
        }
        self._types: list[Any] = []

    def fit_rows(self, train: LabelledRows, validation: LabelledRows, fitting: Fitting) -> int:
        """Grow trees; log loss counts for log-odds, squared errors for other labels."""
        free = fitting.rounds is None
        made = (self.library.CatBoostClassifier if fitting.log_odds else self.library.CatBoostRegressor)(
            **{**self.options, "iterations": fitting.rounds or self.options["iterations"]},
            loss_function="Logloss" if fitting.log_odds else "RMSE",
            early_stopping_rounds=self.patience if free else None,
            random_seed=fitting.seed,
            thread_count=torch.get_num_threads(),
            allow_writing_files=False,
            verbose=False,
        )
        parts = (train, validation) if free else (train,)
        rows, *judged = [
            self._pool(self.columns(*part.features), part.label.numpy(), _numbers(part.weight)) for part in parts
        ]
        made.fit(rows, eval_set=judged or None, callbacks=[_AfterIteration(fitting.goes_on)])
        self.kept, self._grown = bytes(made._serialize_model()), made
        return int(made.tree_count_)

    def _pool(self, columns: list[Array], label: Array | None = None, weight: Array | None = None) -> Any:
        import pandas as pd

        if not self._types:
            self._types = [pd.CategoricalDtype([str(n) for n in range(size)]) for size in self.sizes]
        made = {}
        for at, column in enumerate(columns):
            coded = None if self.numeric[at] else pd.Categorical.from_codes(column, dtype=self._types[at])
            made[str(at)] = column if coded is None else coded
        categories = [str(at) for at, numeric in enumerate(self.numeric) if not numeric]
        return self.library.Pool(pd.DataFrame(made), label, cat_features=categories, weight=weight)

    def _load(self, kept: bytes) -> Any:
        return self.library.CatBoost().load_model(blob=kept)

    def _scores(self, grown: Any, columns: list[Array]) -> Array:
        pool = self._pool(columns)
        found: Array = grown.predict(pool, prediction_type="RawFormulaVal", thread_count=torch.get_num_threads())
        return found


class _AfterIteration:
    """CatBoost asks an object of this form after each tree."""

    def __init__(self, goes_on: Callable[[int], bool]) -> None:
        self.goes_on = goes_on

    def after_iteration(self, info: Any) -> bool:
        return self.goes_on(int(info.iteration) - 1)  # it counts from 1


class LightGBM(_Trees):
    """Boosted trees that are grown leaf by leaf on histograms.

    Paper: Ke et al., LightGBM: a highly efficient gradient boosting decision tree, NeurIPS 2017.

    Categories are split into two sets by the gradients of their rows (Fisher, On grouping for maximum homogeneity,
    1958), which fits many rare values too closely: give such data target statistics (`features.target_statistics`). Up
    to `rounds` trees are grown, and growing ends after `patience` rounds without a better validation loss. Each slot of
    a multi-valued field is a column. Needs `pip install "fmlab[automl]"`.

    Fitted: the trees are the library's
    Cost: O(rounds log(leaves))
    Test: tests/models/test_trees.py::test_scores_are_those_of_the_library
    Family: trees
    """

    defaults = {"target_statistics_as": "numbers", "optimizer": None}
    space = {
        "leaves": {"int": [15, 255], "log": True},
        "lr": {"float": [0.03, 0.3], "log": True},
        "min_data_in_leaf": {"int": [5, 100], "log": True},
        "feature_fraction": {"float": [0.3, 1.0]},
    }

    def __init__(
        self,
        schema: Schema,
        *,
        rounds: Annotated[int, Range(1, None), "most trees"] = 1000,
        leaves: Annotated[int, Range(2, 131072), "most leaves of a tree"] = 63,
        lr: Annotated[float, Range(0, None, open_low=True), "step size"] = 0.1,
        l2: Annotated[float, Range(0, None), "weight of the squared norm of the parameters"] = 1.0,
        min_data_in_leaf: Annotated[int, Range(1, None), "fewest rows of a leaf", Renamed("least")] = 20,
        feature_fraction: Annotated[
            float, Range(0, 1, open_low=True), "share of the columns that a tree sees", Renamed("columns")
        ] = 0.5,
        patience: Annotated[
            int, Range(1, None), "rounds without a better validation loss after which growing stops"
        ] = 20,
    ) -> None:
        """`min_data_in_leaf`: rows of a leaf. `feature_fraction`: the share of columns that a tree may look at."""
        super().__init__(schema, "lightgbm")
        self.rounds, self.patience = rounds, patience
        self.options = {
            "num_leaves": leaves,
            "learning_rate": lr,
            "lambda_l2": l2,
            "min_data_in_leaf": min_data_in_leaf,
            "feature_fraction": feature_fraction,
        }

    def fit_rows(self, train: LabelledRows, validation: LabelledRows, fitting: Fitting) -> int:
        """Grow trees; log loss counts for log-odds, squared errors for other labels."""
        options: Mapping[str, Any] = {
            **self.options,
            "objective": "binary" if fitting.log_odds else "regression",
            "num_threads": torch.get_num_threads(),
            "seed": fitting.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        parts = [(self._matrix(self.columns(*part.features)), part.label.numpy()) for part in (train, validation)]
        categories = [at for at, numeric in enumerate(self.numeric) if not numeric]
        weight = _numbers(train.weight)
        rows = self.library.Dataset(*parts[0], weight=weight, categorical_feature=categories, free_raw_data=True)
        free, wanted = fitting.rounds is None, fitting.rounds or self.rounds
        judged = [self.library.Dataset(*parts[1], weight=_numbers(validation.weight), reference=rows)] if free else []
        best = _Best(self.library, self.patience if free else wanted, fitting.goes_on)
        grown = self.library.train(options, rows, wanted, judged, callbacks=[best])
        text = grown.model_to_string(num_iteration=best.rounds)
        self.kept = text.encode()
        self._grown = self._read(self.kept)
        return best.rounds

    def _matrix(self, columns: list[Array]) -> Array:
        return np.column_stack(columns).astype(np.float32)

    def _load(self, kept: bytes) -> Any:
        return self.library.Booster(model_str=kept.decode())

    def _scores(self, grown: Any, columns: list[Array]) -> Array:
        matrix = self._matrix(columns)
        found: Array = grown.predict(matrix, raw_score=True, num_threads=torch.get_num_threads())
        return found


def _numbers(tensor: Tensor | None) -> Array | None:
    return None if tensor is None else tensor.numpy()


class _Best:
    """Ends LightGBM's training where validation no longer gains, or where it is told to stop; keeps the best round."""

    def __init__(self, library: Any, patience: int, goes_on: Callable[[int], bool]) -> None:
        self.stop, self.patience, self.goes_on = library.callback.EarlyStopException, patience, goes_on
        self.rounds, self.value = 0, np.inf

    def __call__(self, env: Any) -> None:
        value = env.evaluation_result_list[0][2] if env.evaluation_result_list else -env.iteration
        if value < self.value:
            self.rounds, self.value = env.iteration + 1, value
        if env.iteration + 1 - self.rounds >= self.patience or not self.goes_on(env.iteration):
            raise self.stop(self.rounds - 1, env.evaluation_result_list)
