"""One run: a composed config becomes a trained, selected and tested model in a run folder."""

from fmlab.run.experiment import assemble, build_model, load_model, open_task, run

__all__ = ["assemble", "build_model", "load_model", "open_task", "run"]
