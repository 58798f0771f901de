"""Weights & Biases files written offline, read back record by record: what must be there, and what must not."""

import os
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from fmlab_loggers import wandb as plugin

from fmlab.training import loggers

wandb = pytest.importorskip("wandb")
from wandb.proto.wandb_internal_pb2 import Record  # noqa: E402

SECRETS = ("plantedkey0123456789plantedkey0123456789", "plantedpassword")
CONFIG = {
    "data": {"name": "toy", "url": f"https://me:{SECRETS[1]}@host/x"},
    "model": {"name": "fm", "dim": 8, "api_key": SECRETS[0]},
    "protocol": {"name": "ctr"},
    "seed": 3,
    "tags": ["mine"],
}


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRETS[0])
    monkeypatch.setenv("SOME_TOKEN", SECRETS[1])


def whole(path, seconds=60):
    """All records of a run, once its last one is written: the writer is a process of its own."""
    until = time.monotonic() + seconds
    while True:
        found = list(records(path))
        if any(r.WhichOneof("record_type") == "exit" for r in found) or time.monotonic() > until:
            return found
        time.sleep(0.1)


def records(path):
    """A .wandb file is a log in blocks of 32 KiB: each part has a checksum, a length and a kind before it."""
    raw, at, part = path.read_bytes(), 7, b""
    while at + 7 <= len(raw):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", raw[at : at + 7])
        part += raw[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(part)
            part = b""
            yield record


def name_of(item):
    return item.key or "/".join(item.nested_key)


def files(folder):
    return sorted(p for p in folder.rglob("run-*.wandb") if not p.parent.is_symlink())


def refuse_secrets(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [s for s in SECRETS if s.encode() in content], path


def test_runs_that_follow_each_other_are_each_whole_and_hold_no_secret(tmp_path):
    options = {"name": "wandb", "project": "p", "group": "my-sweep", "mode": "offline", "artifacts": True}
    for seed in (3, 4):
        (tmp_path / str(seed) / "checkpoints").mkdir(parents=True)
        used = loggers.build(options, {**CONFIG, "seed": seed}, tmp_path / str(seed))
        (tmp_path / str(seed) / "checkpoints" / "best.ckpt").write_bytes(b"best")
        for epoch in range(2):
            used[0].log_metrics({"val/auc": 0.5 + 0.1 * epoch, "epoch": epoch}, epoch)
        loggers.close(used, {"test/auc": 0.7}, failed=seed == 4)
    for seed in (3, 4):
        (path,) = files(tmp_path / str(seed))
        found = whole(path)
        run = next(r.run for r in found if r.WhichOneof("record_type") == "run")
        assert (run.run_group, run.display_name, run.project) == ("my-sweep", f"fm-{seed}", "p")
        assert list(run.tags) == ["mine", "fm", "toy"]
        config = {name_of(u): u.value_json for u in run.config.update}
        assert '"dim":8' in config["model"].replace(" ", "")
        curve = [i.value_json for r in found for i in r.history.item if name_of(i) == "val/auc"]
        assert [float(v) for v in curve] == pytest.approx([0.5, 0.6])
        summary = {name_of(u): u.value_json for r in found for u in r.summary.update}
        assert float(summary["test/auc"]) == 0.7
        kept = [r.request.log_artifact.artifact for r in found if r.request.HasField("log_artifact")]
        kept += [r.artifact for r in found if r.WhichOneof("record_type") == "artifact"]
        names = [(a.type, sorted(e.path for e in a.manifest.contents)) for a in kept]
        assert names == ([] if seed == 4 else [("model", ["best.ckpt"])])  # a failed run keeps its files
        assert [r.exit.exit_code for r in found if r.WhichOneof("record_type") == "exit"] == [int(seed == 4)]
    refuse_secrets(tmp_path)


def test_wandb_mode_holds_and_no_server_is_asked_for_a_login():
    program = (
        "import wandb; from fmlab_loggers import wandb as plugin; wandb.Api = lambda **_: exit('asked'); "
        "print(plugin._mode('auto'))"
    )
    environment = {**os.environ, "WANDB_MODE": "offline"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("offline", 0), done.stderr


def test_a_leaderboard_is_a_table(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(plugin, "_mode", lambda _: "offline")
    (tmp_path / "page.html").write_text("<html>")
    tables = {"toy, ctr: test": (("model", "p", "p"), (("fm", ".1", ".2"),))}
    plugin.WandB.send_report(tables, "p", tmp_path, files=[tmp_path / "page.html"])
    (path,) = files(tmp_path)
    keys = {name_of(i) for r in whole(path) for i in r.history.item}
    assert "toy, ctr: test" in keys or any(k.startswith("toy, ctr: test") for k in keys)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    sent = [r.artifact for r in whole(path) if r.WhichOneof("record_type") == "artifact"]
    assert ["page.html"] in [[e.path for e in a.manifest.contents] for a in sent if a.type == "report"]
    tables = [p.read_text() for p in tmp_path.rglob("*.table.json")]
    assert any('"fm"' in t and '"p (2)"' in t for t in tables)
    refuse_secrets(tmp_path)


def test_a_failure_is_one_warning(tmp_path, monkeypatch, caplog):
    options = {"name": "wandb", "project": "p", "group": None, "mode": "offline", "artifacts": False}
    monkeypatch.setattr(wandb, "init", lambda **_: (_ for _ in ()).throw(RuntimeError("no")))
    assert loggers.build(options, CONFIG, tmp_path) == []
    plugin.WandB.send_report({"t": (("a",), (("1",),))}, "p", tmp_path)
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING"]


def test_a_dashboard_is_defined_in_code():
    pytest.importorskip("wandb_workspaces")
    from fmlab_loggers.wandb_workspace import workspace

    made = str(workspace("p", "me", {"mrr": ["mrr", "hr@10"]}, ["model.dim"])._to_model())
    for word in ("val/mrr", "val/hr@10", "test/mrr", "model.dim"):
        assert word in made
    assert made.count("test/mrr") == made.count("validation and test")  # options are shown beside the validation


@pytest.mark.parametrize(
    ("line", "own", "typed", "refused"),
    [
        ("base_url = http://127.0.0.1:9", "", "", "base_url"),
        ("BASE_URL = https://api.wandb.ai.evil.org", "", "", "base_url"),
        ("https_proxy = http://127.0.0.1:9", "", "", "https_proxy"),
        ("x_extra_http_headers = {}", "", "", "x_extra_http_headers"),
        ("base_url = http://ours/", "base_url = http://ours/", "", ""),
        ("base_url = http://ours", "", "http://ours/", ""),
        ("base_url = https://api.wandb.ai\nentity = me\nproject = p\nmode = offline", "", "", ""),
    ],
)
def test_a_file_of_the_working_folder_does_not_say_who_gets_the_key(
    tmp_path, monkeypatch, caplog, line, own, typed, refused
):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text(f"[default]\n{line}\n")
    (tmp_path / "own").write_text(f"[default]\n{own}\n")
    settings = wandb.Settings(root_dir=str(tmp_path), settings_system=str(tmp_path / "own"))
    monkeypatch.setenv("WANDB_BASE_URL", typed)
    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=settings))
    reached = []
    monkeypatch.setattr(wandb, "init", lambda **given: reached.append(given))
    monkeypatch.setattr(plugin, "_mode", lambda wanted: "offline")
    loggers.build({"name": "wandb", "project": "p", "group": "g", "mode": "auto"}, CONFIG, tmp_path)
    plugin.WandB.send_report({}, "p", tmp_path)
    assert bool(reached) is not bool(refused)
    assert (
        not refused or f"sets {refused}, and a file of the working folder does not say where a key goes" in caplog.text
    )
