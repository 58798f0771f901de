"""Many runs on purpose: an Optuna study over a search space, worked off by processes that share one storage.

`space` what is searched, `space_config` as it is written · `spec` a sweep as written in `sweeps/` · `study` the Optuna
study, by the steps that a sweep needs · `queue` and `schedule` which trials are enqueued · `suggest` the next point ·
`worker` runs trial after trial in a `worker_process` · `worker_pool` and `coordinator` start and watch workers.
"""
