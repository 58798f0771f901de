"""Weights & Biases: runs, and leaderboards as tables. The package wandb is imported when a run or a report needs it."""

import logging
import os
from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pytorch_lightning.loggers import WandbLogger

from fmlab.errors import FmlabError
from fmlab.terminal.redaction import redacted

log = logging.getLogger("fmlab")
_SERVER = "https://api.wandb.ai"
_HARMLESS = ("entity", "project", "mode", "disabled")  # keys that `wandb init`, `wandb offline` and such write
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


class WandB(WandbLogger):
    """A run of Weights & Biases, online where a login is found, otherwise offline: `wandb sync` uploads it.

    Source: https://docs.wandb.ai. Program, host and git remote are recorded by fmlab itself, redacted.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        folder: Path,
        *,
        project: Annotated[str, "project that the run is logged to"] = "fmlab",
        group: Annotated[str | None, "group of the run; null is <data>-<protocol>"] = None,
        mode: Annotated[
            Literal["auto", "online", "offline"], "whether the run is sent; auto sends it where a login is"
        ] = "auto",
        artifacts: Annotated[
            bool, "whether the best checkpoint, the config and the curves are stored with the run"
        ] = False,
    ) -> None:
        """`config`: the options of the run, redacted. Raises FmlabError for a server of the working folder's choice."""
        import wandb

        if mode != "offline":
            _refuse_foreign_server()
        chosen = _mode(mode)
        names = redacted({"project": project, "group": group})
        run = wandb.init(
            project=names["project"],
            group=names["group"] or f"{config['data']['name']}-{config['protocol']['name']}",
            name=f"{config['model']['name']}-{config['seed']}",
            tags=[str(t) for t in (*config["tags"], config["model"]["name"], config["data"]["name"])],
            config=dict(config),
            dir=str(folder),
            mode=chosen,
            settings=_settings(),
            reinit="finish_previous",
        )
        log.info(f"wandb: {chosen}, {run.url or run.dir}")
        super().__init__(experiment=run)
        self.artifacts = folder if artifacts else None

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """The config was given at the start of the run."""

    def finish(self, summary: Mapping[str, float], *, failed: bool) -> None:
        """Write the final figures and finish the run."""
        self.experiment.summary.update(dict(summary))
        if self.artifacts is not None and not failed:
            names = ("checkpoints/best.ckpt", "serving.bin", "config.yaml", "metrics.csv")
            files = [path for name in names if (path := self.artifacts / name).is_file()]
            _send_files(self.experiment, f"{self.experiment.name}-{self.experiment.id}", "model", files)
        self.experiment.finish(exit_code=int(failed))

    @staticmethod
    def send_report(
        tables: Mapping[str, Table],
        project: str,
        folder: Path,
        *,
        files: Sequence[Path] = (),
        metrics: Mapping[str, Sequence[str]] = MappingProxyType({}),
        options: Sequence[str] = (),
        mode: str = "auto",
    ) -> None:
        """Leaderboards as tables of one W&B run of the group `reports`; a failure is one warning.

        `files`, such as the page with the plots, go along as an artifact. Online, the workspace of
        `fmlab_loggers.wandb_workspace` with these `metrics` and `options` is made as well, where its package is
        installed.
        """
        try:
            import wandb

            _refuse_foreign_server()
            run = wandb.init(
                project=project,
                group="reports",
                job_type="report",
                name="leaderboards",
                dir=str(folder),
                mode=_mode(mode),
                settings=_settings(),
                reinit="finish_previous",
            )
            for title, (head, rows) in tables.items():
                run.log({title: wandb.Table(columns=_distinct(head), data=[list(r) for r in rows])})
            if files:
                _send_files(run, "report", "report", files)
            log.info(f"wandb: {run.url or run.dir}")
            place = None if run.offline else (run.project, run.entity)
            run.finish()
            if place is not None:
                _save_dashboard(*place, metrics, options)
        except Exception as error:
            log.warning(f"wandb has no leaderboards: {error!s:.300}")


def _refuse_foreign_server() -> None:
    """wandb also reads `wandb/settings` of the working folder, which may be somebody else's.

    What it says must not decide who receives the user's key. Raises FmlabError.
    """
    import wandb

    settings = wandb.setup().settings
    own, place = _read_settings(settings.settings_system), settings.settings_workspace
    found = {k: v for k, v in _read_settings(place).items() if k not in _HARMLESS and own.get(k) != v}
    if found.get("base_url", "").rstrip("/") in (_SERVER, os.environ.get("WANDB_BASE_URL", "").rstrip("/")):
        found.pop("base_url", None)
    if found:
        raise FmlabError(
            f"{place} sets {', '.join(sorted(found))}, and a file of the working folder does not say where a key goes: "
            "set WANDB_BASE_URL, or write it to your own settings of wandb"
        )


def _read_settings(path: str | None) -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.read(path or (), encoding="utf-8")
    return dict(parser["default"]) if parser.has_section("default") else {}


@cache
def _mode(wanted: str) -> Any:
    """`auto` is what WANDB_MODE says, else online where a login is found.

    Asked once a process: where the server cannot be reached, wandb tries for long before it says so.
    """
    if wanted != "auto":
        return wanted
    import wandb

    try:
        said = str(wandb.setup().settings.mode)
        if said != "online":
            return said
        return "online" if wandb.Api(api_key=None).api_key else "offline"
    except Exception:
        return "offline"


def _settings() -> Any:
    """Program, host and git remote are recorded by fmlab itself, redacted; wandb would record argv as it is."""
    import wandb

    return wandb.Settings(save_code=False, disable_git=True, x_disable_meta=True, silent=True, console="off")


def _send_files(run: Any, name: str, kind: str, files: Sequence[Path]) -> None:
    import wandb

    artifact = wandb.Artifact(name, kind)
    for path in files:
        artifact.add_file(str(path))
    run.log_artifact(artifact)


def _save_dashboard(project: str, entity: str, metrics: Mapping[str, Sequence[str]], options: Sequence[str]) -> None:
    from fmlab_loggers.wandb_workspace import workspace

    try:
        log.info(f"wandb: {workspace(project, entity, metrics, options).save().url}")
    except ImportError:
        log.info('wandb: a dashboard needs the package wandb-workspaces: pip install "fmlab[sweep]"')
    except Exception as error:
        log.warning(f"wandb has no dashboard: {error!s:.300}")


def _distinct(head: Sequence[str]) -> list[str | int]:
    """Column names of a table, which must differ."""
    return [name if name not in head[:n] else f"{name} ({n})" for n, name in enumerate(head)]
