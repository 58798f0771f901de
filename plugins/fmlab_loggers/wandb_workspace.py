"""A Weights & Biases workspace defined in code: curves, what matters, costs, the leaderboards of `fmlab report`.

It needs the package `wandb-workspaces` and a login: a workspace is kept by the server, there is none offline.
"""

from collections.abc import Mapping, Sequence
from typing import Any


def workspace(project: str, entity: str, metrics: Mapping[str, Sequence[str]], options: Sequence[str]) -> Any:
    """The workspace `fmlab`, not saved; raises ImportError without its package.

    `metrics`: of the validation, by the metric that selects models; `options`: searched ones, as `model.dim`.
    """
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as spaces

    sections: list[Any] = []
    for monitor, others in metrics.items():
        chosen = panels.SummaryMetric(f"val/{monitor}")  # options are never judged by the test
        columns = [*map(panels.Config, options), chosen]
        parts: list[Any] = [panels.LinePlot(title=f"val/{m}", x="epoch", y=[f"val/{m}"]) for m in others]
        parts += [
            panels.ParallelCoordinatesPlot(columns=[panels.ParallelCoordinatesPlotColumn(metric=c) for c in columns]),
            panels.ParameterImportancePlot(with_respect_to=f"val/{monitor}"),
            *(panels.ScatterPlot(title=o, x=panels.Config(o), y=chosen) for o in options),
            panels.ScatterPlot(title="validation and test", x=chosen, y=panels.SummaryMetric(f"test/{monitor}")),
            panels.RunComparer(diff_only="split"),
        ]
        sections.append(spaces.Section(name=monitor, panels=parts, is_open=not sections))
    runs = spaces.RunsetSettings(groupby=[spaces.Config("model.name")])
    return spaces.Workspace(name="fmlab", entity=entity, project=project, sections=sections, runset_settings=runs)
