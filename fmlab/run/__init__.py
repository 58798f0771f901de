"""One run: a composed config becomes a trained, selected and tested model in a run folder.

`experiment` has the steps in their order: `task_opening` and `run_opening` give the data set and the task, `building`
all parts, `fitting` trains them, `checkpoint_evaluation` validates and tests, `calibration` and `refit` come between,
`results` are written. `run_record_writer` writes metrics.json; `serving_data_writer` writes a `serving_data` with
`serving_file`; `loading` and `locate` read a run folder again.
"""
