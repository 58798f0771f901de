"""A gRPC storage whose server is killed and comes back: waited out, and the folders hold what the study holds."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sweeping import conduct, runs, tally, trials_of

from fmlab.errors import StorageError
from fmlab.sweep import retry as patience
from fmlab.sweep.heartbeat import LivenessMonitor, myself
from fmlab.sweep.queue import TrialQueue
from fmlab.sweep.spec import read
from fmlab.sweep.storage import locate, open_storage
from fmlab.sweep.study import Study, TrialRequest

SERVE = """
import sys
from optuna.storages import run_grpc_proxy_server
from fmlab.sweep.storage import open_storage
run_grpc_proxy_server(open_storage(sys.argv[1]).backend, host="127.0.0.1", port=int(sys.argv[2]))
"""


@contextmanager
def server(url, port):
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", SERVE, url, str(port)])
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_server_is_waited_out_and_every_point_has_one_complete_folder(tmp_path, monkeypatch):
    pytest.importorskip("grpc")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(patience, "PAUSES", (0.2,) * 200)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    journal = f"journal://{tmp_path}/served.journal"
    raw = {
        "sampler": "grid",
        "heartbeat": 0.5,
        "storage": f"grpc://127.0.0.1:{port}",
        "fixed": {"sleep": 0.1, "steps": 2},
        "space": {"x": {"choice": list(range(12))}},
    }
    folder, failed = tmp_path / "sweep", []

    def work():
        try:
            conduct(folder, raw)
        except BaseException as error:
            failed.append(error)

    with server(journal, port):
        sweep = threading.Thread(target=work)
        sweep.start()
        while not (folder / "ran.txt").is_file() or len(runs(folder)) < 4:
            assert not failed
            time.sleep(0.05)
    with server(journal, port):
        sweep.join()
        assert not failed
        counts, unfinished = tally(folder, raw)
        assert counts == {f'{{"x": {n}}}': 1 for n in range(12)}
        assert unfinished == 0
        assert {t.state for t in trials_of(folder, raw)} == {TrialState.COMPLETE}


@pytest.fixture
def study(tmp_path):
    return Study.create(open_storage(locate(None, tmp_path)), "s", ["maximize"])[0]


class Away:
    """A storage whose server is away for the next calls; with `after`, it hears them and its answers are lost."""

    def __init__(self, backend, calls, *, after=False):
        self.backend, self.calls, self.after = backend, calls, after

    def __getattr__(self, name):
        method = getattr(self.backend, name)
        if not callable(method):
            return method

        def call(*arguments, **named):
            if self.calls > 0:
                self.calls -= 1
                if self.after:
                    method(*arguments, **named)
                raise StorageInternalError("the server is away")
            return method(*arguments, **named)

        return call


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(patience, "PAUSES", (0.0,) * 3)


def steps(study):
    """Each step of a worker and of a coordinator, once."""
    claim = study.claim({"pid": 1})
    yield claim
    yield study.set_attr(claim, "seeds", {"1": [2.0]})
    yield study.report(claim, 0, 0.5)
    yield study.finish(claim, TrialState.COMPLETE, [1.0], {"result": {"folder": "f", "seconds": 1.5}})
    yield len(study.trials())


@pytest.mark.parametrize("step", range(5))
def test_every_step_waits_for_a_server_that_is_away(study, step):
    study.enqueue(TrialRequest("a", 0))
    away = study.storage = Away(study.storage, 0)
    for number, done in enumerate(steps(study)):
        assert done is not None
        away.calls = 2 if number + 1 == step else 0
    (trial,) = study.trials()
    assert (trial.state, trial.value, trial.user_attrs["worker"]) == (TrialState.COMPLETE, 1.0, {"pid": 1})


def test_a_result_whose_answer_was_lost_is_accepted_and_a_late_one_is_not(study):
    study.enqueue(TrialRequest("a", 0))
    claim = study.claim({"pid": 1})
    notes = {"result": {"folder": "f", "seconds": 1.5}}
    finish = study.storage.set_trial_state_values
    answers = [StorageInternalError("lost"), None]

    def once(*arguments):
        finish(*arguments)
        if answers.pop(0):
            raise StorageInternalError("the answer is lost")

    study.storage.set_trial_state_values = once
    assert study.finish(claim, TrialState.COMPLETE, [1.0], notes)
    study.storage.set_trial_state_values = finish
    assert not study.finish(claim, TrialState.COMPLETE, [2.0], {"result": {"folder": "g", "seconds": 1.5}})
    assert not study.give_up(study.trials()[0], "lost", "silent")


def test_waiting_in_vain_is_a_storage_error_and_is_not_done_again(study, monkeypatch):
    slept = []
    monkeypatch.setattr(patience.time, "sleep", slept.append)
    monkeypatch.setattr(study.study, "get_trials", Away(study.study, 9).get_trials)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"cannot be reached since 0 s: the server is away; the same command"):
            study.trials()
    assert len(slept) == 3


def test_time_without_a_server_is_no_silence():
    now = [0.0]
    watch = LivenessMonitor(2.0, clock=lambda: now[0])
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"worker": {"host": "elsewhere"}, "beat": 1})
    assert watch.lost([trial]) == []
    now[0] = 60
    assert watch.lost([trial], away=58) == []
    now[0] = 66
    assert watch.lost([trial]) == [trial]


def test_a_complete_run_that_the_study_never_heard_of_does_not_count(study, tmp_path):
    sweep = read("s", {"sampler": "grid", "space": {"x": {"choice": [1, 2]}}})
    for slot in ('{"x": 1}', '{"x": 2}'):
        study.enqueue(TrialRequest(slot, 0, 0, json.loads(slot)))
    dead = {"host": myself()["host"], "pid": 2**22 - 3, "born": "1"}
    lost, kept = study.claim(dead), study.claim(dead)
    study.set_attr(kept, "seeds", {"7": [1.0]})
    for path in (f"{lost.number:04d}", f"{kept.number:04d}/seed-7", f"{kept.number:04d}/seed-8"):
        folder = tmp_path / "trials" / path
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text('{"status": "complete"}')
    queue = TrialQueue(sweep, study, tmp_path, creator=False, workers=1)
    queue.expire(study.trials())
    found = {p.parent.name: json.loads(p.read_text())["status"] for p in Path(tmp_path).rglob("metrics.json")}
    assert found == {"0000": "lost", "seed-7": "complete", "seed-8": "lost"}
