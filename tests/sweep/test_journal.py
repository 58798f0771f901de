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
from fmlab.cli.sweep import main as sweep_command
from fmlab.errors import StorageError
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


def read_only(path):
    return optuna.load_study(study_name="s", storage=JournalStorage(SafeJournal(path)))


def everything(study):
    return [(t.state, t.values, t.params, t.datetime_start) for t in study.get_trials()]


@pytest.mark.parametrize("opened", [open_study, read_only])
def test_300_flipped_bits_are_300_errors_with_their_place(whole, tmp_path, opened):
    content, path = whole.read_bytes(), tmp_path / "study.journal"
    for seed in range(300):
        bit = random.Random(seed).randrange(8 * len(content))
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        place = rf"{path}: record \d+, line \d+, at byte \d+, is damaged.*sweep recover"
        with pytest.raises(StorageError, match=place):
            opened(path).get_trials()


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def without_seal(line):
    return line[: line.index(b',"seal"')] + b"}\n"


CHANGES = {
    "twice": lambda lines: [*lines[:9], lines[8], *lines[9:]],
    "the last one twice": lambda lines: [*lines, lines[-1]],
    "an early one at the end": lambda lines: [*lines, lines[3]],
    "left out": lambda lines: [*lines[:9], *lines[10:]],
    "the first left out": lambda lines: lines[1:],
    "exchanged": lambda lines: [*lines[:9], lines[10], lines[9], *lines[11:]],
    "moved to the end": lambda lines: [*lines[:9], *lines[10:], lines[9]],
    "bytes in another order": lambda lines: [*lines[:9], bytes([*reversed(lines[9][:-1])]) + b"\n", *lines[10:]],
    "a key renamed": lambda lines: [*lines[:-1], lines[-1].replace(b'"values"', b'"worths"')],
    "the seal renamed": lambda lines: [*lines[:-1], lines[-1].replace(b'"seal"', b'"soul"')],
    "the only seal renamed": lambda lines: [lines[0].replace(b'"seal"', b'"soul"')],
    "another version": lambda lines: [*lines[:-1], lines[-1].replace(b'"seal":"1', b'"seal":"0')],
    "a seal taken away": lambda lines: [*lines[:9], without_seal(lines[9]), *lines[10:]],
    "the first seal taken away": lambda lines: [without_seal(lines[0]), *lines[1:]],
    "an empty line": lambda lines: [*lines[:9], b"\n", *lines[9:]],
    "noise in the middle": lambda lines: [*lines[:9], bytes(range(128, 250)) + b"\n", *lines[9:]],
    "text at the end": lambda lines: [*lines, b"no record\n"],
    "an object at the end": lambda lines: [*lines, b'{"op_code":6,"trial_id":3}\n'],
    "a list at the end": lambda lines: [*lines, b"[[[[[1]]]]]\n"],
    "the end of the last line": lambda lines: [*lines[:-1], lines[-1][:-1] + b"x"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_journal_is_an_error_and_what_is_before_it_can_be_kept(whole, tmp_path, change, capsys):
    path = tmp_path / "study.journal"
    path.write_bytes(b"".join(CHANGES[change](lines_of(whole))))
    damaged = path.read_bytes()
    with pytest.raises(StorageError, match="is damaged"):
        read_only(path)
    with pytest.raises(StorageError, match="is damaged"):
        open_study(path)
    assert path.read_bytes() == damaged
    assert sweep_command(["recover", str(path)]) == 0
    assert "is moved to" in capsys.readouterr().out
    assert path.read_bytes() + (tmp_path / "study.journal.damaged").read_bytes() == damaged
    kept = values(open_study(path))
    assert kept == list(range(len(kept)))
    finish(open_study(path), 99)
    assert values(open_study(path)) == [*kept, 99]
    assert sweep_command(["recover", str(path)]) == 0
    assert "nothing is damaged" in capsys.readouterr().out


def test_zeros_after_a_power_cut_are_cut_off(whole, tmp_path):
    path = tmp_path / "study.journal"
    path.write_bytes(whole.read_bytes() + bytes(4096))
    assert values(read_only(path)) == list(range(12))
    finish(open_study(path), 99)
    assert values(open_study(str(path), JournalFileBackend)) == [*range(12), 99]


def test_a_journal_without_seals_is_read_and_goes_on_with_them(whole, tmp_path):
    path = tmp_path / "study.journal"
    path.write_bytes(b"".join(map(without_seal, lines_of(whole))))
    assert everything(read_only(path)) == everything(read_only(whole))
    finish(open_study(path), 99)
    assert values(read_only(path)) == [*range(12), 99]
    lines = lines_of(path)
    lines[5] = lines[5].replace(b"0", b"1", 1)  # old records are held by the first seal after them
    path.write_bytes(b"".join(lines))
    with pytest.raises(StorageError, match="is damaged"):
        read_only(path)


def test_records_of_optuna_itself_are_taken_and_held_by_the_next_seal(whole, tmp_path):
    path = tmp_path / "study.journal"
    shutil.copy(whole, path)
    open_study(str(path), JournalFileBackend).set_user_attr("note", "from the dashboard")
    assert read_only(path).user_attrs == {"note": "from the dashboard"}
    finish(open_study(path), 99)
    assert values(read_only(path)) == [*range(12), 99]
    path.write_bytes(path.read_bytes().replace(b"from the dash", b"from the hash"))
    with pytest.raises(StorageError, match="is damaged"):
        read_only(path)


def test_a_record_of_a_writer_that_lost_its_lock_is_taken_once(whole, tmp_path, monkeypatch):
    path = tmp_path / "study.journal"
    shutil.copy(whole, path)
    late, other = SafeJournal(path), open_study(path)
    list(late.read_logs(0))
    write = SafeJournal._write

    def stopped(self, content, *, durable):  # between its last look and its write
        monkeypatch.setattr(SafeJournal, "_write", write)
        (tmp_path / "study.journal.lock").unlink()
        finish(other, 50)
        write(self, content, durable=durable)

    monkeypatch.setattr(SafeJournal, "_write", stopped)
    late.append_logs([{"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {"late": 1}}])
    late.append_logs([{"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {"later": 2}}])
    finish(other, 51)
    study = read_only(path)
    assert study.user_attrs == {"late": 1, "later": 2}
    assert values(study) == [*range(12), 50, 51] == values(other)


def test_a_step_reads_what_it_adds_however_long_the_journal_is(tmp_path, monkeypatch):
    read = []
    take = SafeJournal._take
    monkeypatch.setattr(SafeJournal, "_take", lambda self, line: (read.append(len(line)), take(self, line))[1])
    costs = {}
    for length in (1_000, 5_000):
        path = tmp_path / f"{length}.journal"
        study = open_study(path)
        record = {"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {"a": 1}}
        study._storage._backend.append_logs([record] * length)
        study.get_trials()
        read.clear()
        trial = study.ask()
        trial.report(0.5, 1)
        study.tell(trial, 1.0)
        costs[length] = len(read)
        read.clear()
        backend = study._storage._backend
        assert len(list(backend.read_logs(length - 5))) == len(list(SafeJournal(path).read_logs(length - 5)))
    assert costs[5_000] == costs[1_000] <= 5


def test_any_number_is_found_by_the_index(tmp_path, monkeypatch):
    path = tmp_path / "study.journal"
    monkeypatch.setattr(journal, "_EVERY", 10)
    backend = SafeJournal(path)
    backend.append_logs([{"op_code": 8, "worker_id": "w", "trial_id": n, "user_attr": {}} for n in range(95)])
    for start in (0, 94, 95, 7, 50, 49, 51, 90, 0):
        assert [r["trial_id"] for r in backend.read_logs(start)] == list(range(start, 95))
    read, take = [], SafeJournal._take
    monkeypatch.setattr(SafeJournal, "_take", lambda self, line: (read.append(line), take(self, line))[1])
    assert [r["trial_id"] for r in backend.read_logs(88)] == list(range(88, 95))
    assert len(read) == 15  # from 80 on
    reader = backend.read_logs(3)
    next(reader)
    del reader
    assert [r["trial_id"] for r in backend.read_logs(4)] == list(range(4, 95))
