"""What a person may have meant: the nearest full names of options, commands and presets."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

# What other programs call options. The nearest of these words counts as well.
OTHER_WORDS = {
    "learning_rate": "lr",
    "learningrate": "lr",
    "n_epochs": "max_epochs",
    "num_epochs": "max_epochs",
    "iterations": "max_epochs",
    "embedding_dim": "dim",
    "embedding_size": "dim",
    "latent_dim": "dim",
    "factors": "dim",
    "rank": "dim",
    "l2": "weight_decay",
    "regularization": "weight_decay",
    "batchsize": "batch_size",
    "bs": "batch_size",
    "dataset": "data",
    "algorithm": "model",
    "optim": "optimizer",
    "criterion": "loss",
    "random_state": "seed",
    "gpus": "devices",
    "device": "accelerator",
    "early_stopping": "patience",
    "num_negatives": "negatives",
    "resume": "ckpt_path",
    "checkpoint": "ckpt_path",
    "tensorboard": "logger",
    "wandb": "logger",
    "log": "logger",
}
_MOST = 3


def nearest(word: str, paths: Iterable[str]) -> list[str]:
    """Full paths whose last part is the word, has it as one of its words, or looks like it; the best kind only.

    `lr` gives `optimizer.lr`, `epochs` gives `trainer.max_epochs`, `traner.max_epochs` gives `trainer.max_epochs`.
    """
    word, known = word.lower().replace("-", "_"), sorted(set(paths))
    last = word.rpartition(".")[2]
    found = [p for p in known if _last(p) == last] or [p for p in known if last in _last(p).split("_")]
    if not found and last in OTHER_WORDS:  # known well enough to guess no other
        return sorted((p for p in known if _last(p) == OTHER_WORDS[last]), key=lambda p: (p.count("."), p))[:_MOST]
    if not found and (near := _close(last, OTHER_WORDS, 0.8)):
        found = [p for p in known if _last(p) == OTHER_WORDS[near]]
    if not found and (near := _close(last, {_last(p) for p in known}, 0.7)):
        found = [p for p in known if _last(p) == near]
    if not found and (near := _close(word, known, 0.75)):
        found = [near]
    return sorted(found, key=lambda p: (p.count("."), p))[:_MOST]


def _last(path: str) -> str:
    return path.rpartition(".")[2].replace("/", "_")


def _close(word: str, known: Iterable[str], least: float) -> str:
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=least)), "")


def meant(found: Iterable[str]) -> str:
    """`did you mean 'optimizer.lr' or 'model.lr'? `, or nothing."""
    words = " or ".join(map(repr, found))
    return f"did you mean {words}? " if words else ""


def paths_of(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Full paths of all options of a config, groups included.

    Hydra's own, names of plugins and former names of options are left out.
    """
    for key, value in config.items():
        if str(key) != "hydra" and not (prefix and key == "name") and not is_former(value):
            yield f"{prefix}{key}"
            if isinstance(value, Mapping):
                yield from paths_of(value, f"{prefix}{key}.")


def is_former(value: Any) -> bool:
    """Whether an unresolved value stands for the former name of an option, see `fmlab.config.renames`."""
    return isinstance(value, str) and value.startswith("${.") and value.endswith("}")


def presets_like(word: str, known: Iterable[str]) -> list[str]:
    """Presets in a folder of that name, else of that name in any folder, else those with the word in it, or like it."""
    names, word = sorted(known), word.strip("/")
    ways = (
        [n for n in names if n.startswith(f"{word}/")],
        [n for n in names if n.rpartition("/")[2] == word],
        [n for n in names if word and word in n],
        get_close_matches(word, names, n=1, cutoff=0.6),
        [n for n in names if n.rpartition("/")[2] == _close(word, {m.rpartition("/")[2] for m in names}, 0.6)],
    )
    return next(filter(None, ways), [])[:_MOST]


def names_below(repository: Any, group: str) -> list[str]:
    """Names of the configs of a group in a repository of Hydra, those in its folders as `folder/name`."""
    from hydra.core.object_type import ObjectType  # only here: help on a command needs no Hydra

    found = list(repository.get_group_options(group, ObjectType.CONFIG))
    for folder in repository.get_group_options(group, ObjectType.GROUP):
        found += [f"{folder}/{name}" for name in names_below(repository, f"{group}/{folder}")]
    return found
