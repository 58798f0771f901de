"""The entries of a checkpoint, by what writes them.

- Lightning: `state_dict` (`PARAMETERS`), the tensors of the model with `MODEL_PREFIX` before their names; `epoch`,
  `global_step`, `loops`, `optimizer_states` and `lr_schedulers`, where training is.
- `fmlab.training.best_checkpoint`: `callbacks.BestCheckpoint`, the `epoch` and `value` of the best validation so far.
- `fmlab.run.building`: `fmlab` (`IDENTITY`), what rebuilds the model: `schema`, `model`, `table`, `search`, `quantized`
  and `label_scale`; and what a resumed run must share: `loss`, `optimizer`, `scheduler`, `sampler`, `protocol`, `data`,
  `seed`, `batch_size`.
- `fmlab.training.learner`: `training` (`TRAINING`), the `options` of the trainer, `pace`, `random`, `first_loss`,
  `diverged`, `validations`, `epoch_steps` and `scheduler`; and the place in the epoch: `batches`, `totals`, `mean`.

The bytes around them are those of `checkpoint_format`; what may stand in them says `checkpoint_validation`.
"""

IDENTITY = "fmlab"
TRAINING = "training"
PARAMETERS = "state_dict"
MODEL_PREFIX = "model."
