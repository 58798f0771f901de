"""`fmlab -m sweep=<name>` from the command line, on a small synthetic data set."""

import json
import os
import subprocess
import sys

import pytest

QUIET = {"OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0"}


def fmlab(folder, *arguments):
    environment = {**os.environ, **QUIET, "FMLAB_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "fmlab", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)


def test_hydra_starts_without_importing_the_sweeps(tmp_path):
    program = (
        "import sys; from fmlab.cli import main; main(['--cfg', 'job']); "
        "sys.exit(bool({'optuna', 'torch', 'fmlab.sweep.coordinator'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr


def test_mistakes_are_told_before_anything_runs(tmp_path):
    unknown = fmlab(tmp_path, "-m", "sweep=quik")
    assert unknown.returncode == 2
    assert "did you mean 'quick'" in unknown.stderr
    single = fmlab(tmp_path, "sweep=quick")
    assert single.returncode == 2
    assert "add -m" in single.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_sweep_runs_resumes_and_refuses_another_space(tmp_path):
    small = ["data.users=60", "data.items=40", "model=fm", "logger=none", "workers=1"]
    done = fmlab(tmp_path, "-m", "sweep=quick", *small)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "sweeps" / "quick"
    results = json.loads((folder / "results.json").read_text())
    assert results["states"] == {"complete": 2}
    assert results["metric"] == ["mrr"]
    metrics = [json.loads(p.read_text()) for p in sorted(folder.glob("trials/*/metrics.json"))]
    assert [m["status"] for m in metrics] == ["complete", "complete"]
    assert results["best"][0]["values"] == [max(m["validation"]["mrr"] for m in metrics)]
    again = fmlab(tmp_path, "-m", "sweep=quick", *small)
    assert again.returncode == 0
    assert "2 points, 2 done before" in again.stderr
    other = fmlab(tmp_path, "-m", "sweep=quick", *small, "trainer.max_epochs=1")
    assert other.returncode == 2
    assert "fixed.trainer.max_epochs: 2 in the study, 1 now" in other.stderr


def test_a_sweep_of_ones_own_is_found_in_the_config_folder(tmp_path):
    (tmp_path / "mine" / "sweep" / "first").mkdir(parents=True)
    text = "sampler: random\ntrials: 7\nspace: {seed: {choice: [1, 2]}}\n"
    (tmp_path / "mine" / "sweep" / "first" / "try.yaml").write_text(text)
    done = fmlab(tmp_path, "--config-dir", "mine", "sweep=first/try", "--cfg", "hydra", "-p", "hydra.sweeper")
    assert done.returncode == 0, done.stderr
    assert "trials: 7" in done.stdout
    assert "name: first/try" in done.stdout
