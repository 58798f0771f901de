"""Many runs on purpose: an Optuna study over a search space, worked off by processes that share one storage.

`space` what is searched · `spec` a sweep as written in `sweeps/` · `study` the Optuna study, by the steps that a sweep
needs · `queue` and `schedule` which trials are enqueued · `suggest` the next point · `worker` one process that runs
many trials · `worker_pool` and `coordinator` start and watch workers.
"""
