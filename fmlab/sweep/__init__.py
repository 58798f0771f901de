"""Many runs on purpose: an Optuna study over a search space, worked off by processes that share one storage.

`space` what is searched · `definition` a sweep as written in `sweeps/` · `ledger` the study: what is asked, running,
done · `proposal` what to try next · `worker` one process, many trials · `coordinator` starts and watches workers.
"""
