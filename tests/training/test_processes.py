"""A run is one process unless its options say otherwise, whatever the environment holds."""

import pytest

from fmlab.errors import FmlabError
from fmlab.training.processes import LAUNCHER, Launch, launch_of

SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}
STEP = SLURM | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
STRAYS = [
    {},
    {"LOCAL_RANK": "1"},
    {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "1"},
    {"LOCAL_RANK": ""},
    {"LOCAL_RANK": "one"},
    SLURM,
    STEP,
    TORCHRUN,
    {"JSM_NAMESPACE_RANK": "1"},
]


def options(devices: object = 1, nodes: int = 1) -> dict[str, object]:
    return {"devices": devices, "num_nodes": nodes, "accelerator": "cpu"}


@pytest.mark.parametrize("environment", STRAYS, ids=lambda e: ",".join(e) or "empty")
@pytest.mark.parametrize("devices", [1, [3], "auto"], ids=str)
def test_one_process_whatever_is_set(environment: dict[str, str], devices: object) -> None:
    assert launch_of(options(devices), environment, 42) == Launch("fmlab", 1, 1)


@pytest.mark.parametrize("environment", [e for e in STRAYS if e not in (STEP, TORCHRUN)], ids=",".join)
def test_fmlab_starts_what_the_options_ask_for(environment: dict[str, str]) -> None:
    assert launch_of(options(2), environment, 42) == Launch("fmlab", 2, 1)


def test_a_process_that_fmlab_started_knows_its_place() -> None:
    environment = {LAUNCHER: "42", "LOCAL_RANK": "1", "WORLD_SIZE": "2"} | SLURM
    found = launch_of(options(2), environment, 42)
    assert found == Launch("fmlab", 2, 1, rank=1, local_rank=1)
    assert found.is_child
    with pytest.raises(FmlabError, match="has ended"):
        launch_of(options(2), environment, 1)  # it does not become a run of its own
    assert not launch_of(options(2), environment | {"LOCAL_RANK": "0"}, 42).is_child


def test_torchrun_and_srun_start_processes_where_the_options_ask_for_as_many() -> None:
    assert launch_of(options(2), TORCHRUN, 42) == Launch("torchrun", 2, 1, 1, 1)
    assert launch_of(options(2), STEP, 42) == Launch("srun", 2, 1, 1, 1)
    assert launch_of(options(4), STEP, 42) == Launch("fmlab", 4, 1)
    with pytest.raises(FmlabError, match="4 x 1 processes, got 2"):
        launch_of(options(4), TORCHRUN, 42)


def test_nodes_are_told_apart_by_their_rank() -> None:
    assert launch_of(options(2, 3), {"NODE_RANK": "2"}, 42) == Launch("fmlab", 6, 3, 4, 0, 2)
    child = {LAUNCHER: "42", "LOCAL_RANK": "1", "NODE_RANK": "2"}
    assert launch_of(options(2, 3), child, 42) == Launch("fmlab", 6, 3, 5, 1, 2)
