"""The options that belong to fmlab itself: a run, its trainer, its loggers, a sweep. Values are in `conf/`.

Each option is declared once, as a field; help, checks, the JSON schema and the command line are derived from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fmlab.plugin.option import REQUIRED, Option, Range, Renamed

if TYPE_CHECKING:
    from fmlab.plugin.signature import Signature

BOTH = "train+validation"  # of refit_on
Positive = Annotated[int, Range(1, None)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Share = Annotated[float, Range(0, 1, open_low=True)]
Above0 = Annotated[float, Range(0, None, open_low=True)]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The top level: what every run needs, whatever is trained."""

    seed: Annotated[Seed, "seed of parameters, orders of rows and negatives"]
    batch_size: Annotated[Positive, "training rows of a step; of positives, where negatives are drawn to them"]
    data_dir: Annotated[str, "folder of raw data", Renamed("root")]
    cache_dir: Annotated[str, "folder of prepared data", Renamed("cache")]
    ckpt_path: Annotated[str | None, "checkpoint or run folder to resume; null starts anew"]
    warm_start: Annotated[tuple[str, ...], "trained runs that the model takes its first parameters from"]
    warm_start_optimizer: Annotated[bool, "whether the optimizer goes on with its state in the run of warm_start"]
    tags: Annotated[tuple[str, ...], "words that loggers show with the run"]
    crosses: Annotated[
        Literal["auto"] | tuple[str, ...],
        "fields of pairs or triples of fields, such as user*item, one category for each combination that repeats",
    ] = ()
    target_statistics: Annotated[
        Literal["auto"] | tuple[str, ...],
        "fields, or groups of them, whose values get the mean label of other training rows; auto chooses by gain",
    ] = ()
    target_statistics_as: Annotated[
        Literal["bins", "numbers"], "whether target statistics are categories, or numbers, as trees want them"
    ] = "bins"
    ignored_fields: Annotated[
        Literal["auto"] | tuple[str, ...],
        "fields of the data that the model does not get; auto: those that nearly repeat another field",
    ] = ()
    calibrate: Annotated[
        Literal["none", "platt", "isotonic"],
        "how probabilities are calibrated after training, on the validation rows; test metrics and predictions use it",
    ] = "none"
    refit_on: Annotated[
        Literal["train", "train+validation"],
        "rows of the tested model: train+validation trains it anew on both, as long as the validation selected",
    ] = "train"
    if_exists: Annotated[
        Literal["error", "resume", "overwrite"],
        "what is done where the run folder holds a run",
        Renamed("if_exists", {"refuse": "error"}),
    ] = "error"
    resume_changes: Annotated[
        Literal["error", "allow"],
        "what is done where a resumed run has other options of the trainer that change the result",
        Renamed("resume_changes", {"refuse": "error"}),
    ] = "error"


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Arguments of Lightning's Trainer, and ours: patience, reduce_lr, threads, progress, checkpoint_every."""

    max_epochs: Annotated[Positive, "most epochs"]
    patience: Annotated[
        Annotated[int, Range(0, None)] | None,
        "validations without a better monitored metric after which training stops; 0 or null never stops early",
    ]
    reduce_lr: Annotated[
        Annotated[float, Range(0, 1, open_low=True, open_high=True)] | None,
        "factor on the learning rate after every validation without a better metric; null keeps the rate",
    ]
    accelerator: Annotated[Literal["auto", "cpu", "gpu", "mps", "tpu"], "kind of device"]
    devices: Annotated[Positive | Literal["auto"] | tuple[int, ...], "number of devices, or their numbers"]
    num_nodes: Annotated[Positive, "machines that the run spans"] = 1
    strategy: Annotated[Literal["auto", "ddp"], "ddp trains with one process a device"]
    precision: Annotated[Literal["32-true", "64-true", "16-mixed", "bf16-mixed"], "number format of the arithmetic"]
    check_val_every_n_epoch: Annotated[Positive, "epochs from one validation to the next"]
    gradient_clip_val: Annotated[Above0 | None, "largest norm of all gradients of a step; null clips nothing"]
    limit_train_batches: Annotated[Positive | Share | None, "batches of an epoch, or their share; null takes all"]
    deterministic: Annotated[bool, "whether only algorithms are used that repeat to the bit on a GPU"]
    threads: Annotated[Annotated[int, Range(1, 1024)] | None, "CPU threads; null is torch's choice"]
    progress: Annotated[bool | Literal["auto"], "whether a bar is shown; auto shows one on a terminal"]
    checkpoint_every: Annotated[
        str | Above0 | None,
        "time between checkpoints within an epoch, such as 90s, 5m or 1h; null saves after epochs alone",
    ] = "5m"


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """A logger without options."""


@dataclass(frozen=True, kw_only=True)
class Several:
    """Several loggers at once: `logger=[wandb,tensorboard]`."""

    names: Annotated[tuple[str, ...], "loggers of the run"]
    options: Annotated[tuple[str, ...], "options of the loggers, as in wandb.project=mine"] = ()


LOGGERS: Mapping[str, Callable[..., Any]] = {"none": Nothing, "csv": Nothing, "several": Several}

Direction = Literal["maximize", "minimize"]
SAMPLERS = ("grid", "random", "tpe", "gp", "cmaes", "qmc", "nsgaii", "local")
PRUNERS = ("none", "median", "halving", "hyperband", "wilcoxon")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The options of a sweep: of the files in `sweeps/`, and beside `sweep=` on the command line."""

    metric: Annotated[
        str | tuple[str, ...] | None, "validation metrics to optimize; null is the one that the protocol selects by"
    ] = None
    direction: Annotated[
        Direction | tuple[Direction, ...] | None, "which way each metric gets better; null is the metric's own"
    ] = None
    n_trials: Annotated[
        Positive | None, "number of trials; null runs the whole grid, or until the budget is spent", Renamed("trials")
    ] = None
    workers: Annotated[
        Annotated[int, Range(1, 1024)] | None,
        "trials at the same time; null is one for each core up to 8, then one for each two",
    ] = None
    threads: Annotated[Annotated[int, Range(1, 1024)] | None, "CPU threads of a worker; null is its share"] = None
    seeds: Annotated[tuple[Seed, ...], "seeds that each trial is run with, whose mean counts; [] is the run's own"] = ()
    budget: Annotated[str | Above0 | None, "wall-clock time of the whole command, such as 90s, 20m or 6h"] = None
    storage: Annotated[
        str | None, "file or URL of the study: sqlite:///, postgresql://, grpc://; null is a journal in the folder"
    ] = None
    study: Annotated[str | None, "name of the study; null is the name of the sweep"] = None
    folder: Annotated[str | None, "folder of the trials; null is runs/sweeps/<study>"] = None
    seed: Annotated[Annotated[int, Range(0, None)], "seed of the sampler"] = 0
    allow_space_change: Annotated[
        bool, "whether a study goes on that was begun with another search space", Renamed("extend")
    ] = False
    retries: Annotated[Annotated[int, Range(0, None)], "times that a trial whose worker died is run again"] = 3
    heartbeat: Annotated[
        Annotated[float, Range(0.05, None)],
        "seconds between signs of life of a worker; one that is silent for 3.5 times as long is taken for dead",
    ] = 2.0
    train_fraction: Annotated[Share | None, "share of the training rows of an epoch of a trial", Renamed("part")] = None
    trial_time_fraction: Annotated[
        Share | None, "share of the budget that a trial may train at most", Renamed("share")
    ] = None
    racing: Annotated[
        bool,
        "whether trials that trial_time_fraction ended go on from their checkpoint, the best third, with more time",
    ] = False
    refit_seeds: Annotated[
        tuple[Seed, ...] | None, "seeds that the best point is trained with after the search", Renamed("refit")
    ] = ()
    ensemble: Annotated[
        bool, "whether an ensemble of the trials is chosen at the end, by validation scores, which trials then keep"
    ] = False
    scores_bytes: Annotated[Positive, "bytes of kept scores; of more, the oldest of the worse half are dropped"] = (
        1_000_000_000
    )
    max_parameters: Annotated[Positive | None, "parameters of a model; one with more is not built"] = None
    max_latency: Annotated[
        Above0 | None, "microseconds to score a row on one core, measured; a slower model is not trained"
    ] = None
    memory_limit: Annotated[
        str | Positive | None,
        "memory of all workers together, such as 8GB; a trial that takes more than its share ends",
    ] = None
    exclude_models: Annotated[
        tuple[str, ...] | None, "models that take no part in a search over all models, such as [catboost,lightgbm]"
    ] = None
    preset: Annotated[str | None, "how much a search over all models takes: one of the presets of its file"] = None
    time_limit: Annotated[str | Above0 | None, "another name of budget"] = None


SWEEP_PARTS: tuple[Option, ...] = (
    Option("sampler", Any, "tpe", f"who proposes points, by name or with options: {', '.join(SAMPLERS)}"),
    Option("pruner", Any, "none", f"who stops trials early, by name or with options: {', '.join(PRUNERS)}"),
    Option("fixed", Any, None, "overrides of all trials"),
    Option("space", Any, None, "overrides that are searched, each with choice, int, float or const"),
    Option("initial_points", Any, (), "points that are tried first", (Renamed("first"),)),
    Option("auto", Any, None, "how the space is made of all installed models"),
)
"""Options of a sweep that are mappings; `fmlab.sweep.spec` checks them."""


@cache
def signature_of(kind: Callable[..., Any]) -> "Signature":
    """Of one of the classes of this module."""
    from fmlab.plugin.signature import of_object  # only here: Hydra imports this module at every start

    return of_object(kind)


def sweep_options() -> tuple[Option, ...]:
    """All options of a sweep, in order."""
    return (*signature_of(Sweep).options, *SWEEP_PARTS)


def sweep_defaults() -> dict[str, Any]:
    """Names and defaults of a sweep's options, with former names as references to the new ones."""
    found = {o.name: None if o.default is REQUIRED else o.default for o in sweep_options()}
    return found | {r.old: f"${{.{o.name}}}" for o in sweep_options() for r in o.renamed}
