"""Types of the config that belongs to fmlab itself: a run, its trainer, its logger. Values are in `conf/`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fmlab.plugin.option import Range

Positive = Annotated[int, Range(1, None)]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The top level: what every run needs, whatever is trained."""

    seed: Annotated[int, Range(0, 2**32 - 1)]
    batch_size: Positive
    root: str  # folder of raw data
    cache: str  # folder of prepared data
    ckpt_path: str | None  # resume from here
    warm_start: tuple[str, ...]  # checkpoints of trained models that the model takes its first parameters from
    tags: tuple[str, ...]
    # fields of pairs or triples of fields, such as user*item, one category for each combination that repeats
    crosses: Literal["auto"] | tuple[str, ...] = ()
    # of such groups or of single fields: what labels other training rows with the same values have; auto: by gain
    target_statistics: Literal["auto"] | tuple[str, ...] = ()
    target_statistics_as: Literal["bins", "numbers"] = "bins"  # categories, or numbers as trees want them
    if_exists: Literal["refuse", "resume", "overwrite"] = "refuse"  # where the run folder holds a run
    resume_changes: Literal["refuse", "allow"] = "refuse"  # of the trainer's options that change the result


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Arguments of Lightning's Trainer, and ours: patience, reduce_lr, threads, progress, checkpoint_every."""

    max_epochs: Positive
    patience: Annotated[int, Range(0, None)] | None  # epochs without improvement; 0 or null never stops early
    reduce_lr: Annotated[float, Range(0, 1, open_low=True, open_high=True)] | None  # null never reduces it
    accelerator: Literal["auto", "cpu", "gpu", "mps", "tpu"]
    devices: Positive | Literal["auto"] | tuple[int, ...]
    num_nodes: Positive = 1  # machines that the run spans
    strategy: Literal["auto", "ddp"]
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed"]
    check_val_every_n_epoch: Positive
    gradient_clip_val: Annotated[float, Range(0, None, open_low=True)] | None
    limit_train_batches: Positive | Annotated[float, Range(0, 1, open_low=True)] | None
    deterministic: bool
    threads: Annotated[int, Range(1, 1024)] | None
    progress: bool | Literal["auto"]
    # 90s, 5m, 1h: how much of a long epoch a killed run may lose; null saves after epochs only
    checkpoint_every: str | Annotated[float, Range(0, None, open_low=True)] | None = "5m"


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """A logger without options."""


@dataclass(frozen=True, kw_only=True)
class Wandb:
    """Weights & Biases; `auto` is online where a login is found, otherwise offline."""

    project: str
    group: str | None
    mode: Literal["auto", "online", "offline"]
    artifacts: bool  # whether the best checkpoint, the config and the curves go along


LOGGERS: Mapping[str, type[Any]] = {"none": Nothing, "csv": Nothing, "wandb": Wandb}
