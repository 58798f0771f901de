"""Torn, full, locked: every finished trial of a journal stays readable, and work goes on."""

import json
import random
import shutil

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

import fmlab.sweep.journal as journal
from fmlab.sweep.journal import SafeJournal

optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_study(path, backend=SafeJournal):
    return optuna.create_study(study_name="s", storage=JournalStorage(backend(path)), load_if_exists=True)


def finish(study, number):
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    study.tell(trial, float(number))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "study.journal"
    study = open_study(path)
    for number in range(12):
        finish(study, number)
    return path


def values(study):
    return [t.value for t in study.get_trials() if t.state == TrialState.COMPLETE]


def acknowledged(content):
    """Values of trials whose last record is there whole: an oracle that only knows the format."""
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    records = [json.loads(line) for line in lines]
    return [r["values"][0] for r in records if r.get("state") == TrialState.COMPLETE]


@pytest.mark.parametrize("seed", range(60))
def test_a_journal_torn_anywhere_keeps_what_was_finished_and_goes_on(whole, tmp_path, seed):
    content, path = whole.read_bytes(), tmp_path / "study.journal"
    torn = content[: random.Random(seed).randrange(content.index(b"\n") + 1, len(content))]
    path.write_bytes(torn)
    study = open_study(path)
    assert values(study) == acknowledged(torn)
    finish(study, 99)
    assert values(open_study(path)) == [*acknowledged(torn), 99]
    # The file stays one that Optuna itself can read.
    assert values(open_study(str(path), JournalFileBackend)) == [*acknowledged(torn), 99]


@pytest.mark.parametrize("seed", range(20))
def test_garbage_at_the_end_is_passed_over(whole, tmp_path, seed):
    path = tmp_path / "study.journal"
    noise = random.Random(seed).randbytes(200).replace(b"\n", b" ")
    path.write_bytes(whole.read_bytes() + noise + random.Random(seed).choice([b"", b"\n", b'\n{"op_code":']))
    study = open_study(path)
    assert values(study) == list(range(12))
    finish(study, 99)
    assert values(open_study(path)) == [*range(12), 99]


def test_a_worker_that_had_the_journal_open_goes_on_after_another_was_torn_off(whole, tmp_path):
    path = tmp_path / "study.journal"
    shutil.copy(whole, path)
    study, other = open_study(path), open_study(path)
    with path.open("ab") as file:
        file.write(b'{"op_code":6,"worker_id":"x","trial_id":3,"st')
    finish(study, 50)
    finish(other, 51)
    assert values(study) == [*range(12), 50, 51] == values(other)


def test_the_lock_of_a_dead_process_is_broken_soon(whole, tmp_path, monkeypatch):
    path = tmp_path / "study.journal"
    shutil.copy(whole, path)
    (tmp_path / "study.journal.lock").symlink_to(path)
    monkeypatch.setattr(journal, "_PATIENCE", 1)
    study = open_study(path)
    finish(study, 50)
    assert values(study) == [*range(12), 50]


def test_a_write_that_fails_is_taken_back(whole, tmp_path, monkeypatch):
    from fmlab.errors import StorageError

    path = tmp_path / "study.journal"
    shutil.copy(whole, path)
    study = open_study(path)
    trial = study.ask()

    class Full:
        """A file on a full disk: takes 10 bytes, then refuses."""

        def __init__(self, file):
            self.file, self.calls = file, 0

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            self.calls += 1
            if self.calls > 1:
                raise OSError(28, "No space left on device")
            return self.file.write(content[:10])

    real = type(path).open
    with monkeypatch.context() as patch:
        patch.setattr(type(path), "open", lambda p, m="r", **k: Full(real(p, m, **k)) if m == "ab" else real(p, m, **k))
        with pytest.raises(StorageError, match="No space left"):
            trial.set_user_attr("a", 1)
    assert path.read_bytes().endswith(b"\n")
    study.tell(trial, 50.0)
    assert values(open_study(path)) == [*range(12), 50]


def test_sixteen_threads_lose_and_double_nothing(tmp_path):
    import threading

    path = tmp_path / "study.journal"
    open_study(path)

    def work():
        study = open_study(path)
        for number in range(5):
            finish(study, number)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trials = open_study(path).get_trials()
    assert [t.number for t in trials] == list(range(80))
    assert all(t.state == TrialState.COMPLETE for t in trials)
