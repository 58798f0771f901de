"""The evaluation of a trained model on the validation part, and on the test part."""

from pathlib import Path

from fmlab.run.building import BuiltRun
from fmlab.training.evaluation_module import Evaluated


def evaluate_validation(built: BuiltRun, checkpoint: Path | None) -> Evaluated:
    """Evaluate the model of a checkpoint on the validation part; None: the model as it is in memory."""
    built.trainer.validate(built.learner, ckpt_path=checkpoint, verbose=False, weights_only=True)
    return built.learner.last_evaluation()


def evaluate_test(built: BuiltRun, checkpoint: Path | None) -> Evaluated:
    """Evaluate the model of a checkpoint on the test part; None: the model as it is in memory."""
    built.trainer.test(built.learner, ckpt_path=checkpoint, verbose=False, weights_only=True)
    return built.learner.last_evaluation()
