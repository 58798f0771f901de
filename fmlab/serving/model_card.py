"""The model card of a run: what it is for, its figures, its data, its options and its limits."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fmlab.terminal.escaping import escaped_line

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

GROUPS = ("model", "loss", "optimizer", "scheduler", "sampler", "protocol")
STATISTICS = ("samples", "users", "items", "fields", "features", "density")


def model_card(run: "LoadedRun", record: Mapping[str, Any], version: str) -> str:
    """Markdown with the front matter that the Hugging Face Hub reads. `record`: that of the run, empty without one."""
    return "\n".join([*_front(run), *_head(run, version), *_metrics(record), *_data(run, record), *_options(run)]) + (
        "\n" + "\n".join(_limits(run, record)) + "\n"
    )


def _front(run: "LoadedRun") -> Iterator[str]:
    tags = ["recommender-system", "tabular", run.name]
    yield from ("---", "library_name: fmlab", "tags:")
    yield from (f"- {json.dumps(escaped_line(tag))}" for tag in tags)
    yield "---"


def _head(run: "LoadedRun", version: str) -> Iterator[str]:
    yield from (f"# {_cell(run.name)} on {_cell(run.data.name)}", "", f"Trained with fmlab {version}.", "")
    ways = ["run.predict(frame)  # a frame with the columns " + ", ".join(run.columns)]
    if run.data.users is not None and run.data.items is not None:
        ways.append('run.recommend(["42"], k=10)')
    yield from ("```python", "from fmlab.serving import load_run", "", 'run = load_run("this folder")')
    yield from (*(escaped_line(way) for way in ways), "```", "")


def _metrics(record: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Metrics", "")
    validation, test = (dict(record.get(part) or {}) for part in ("validation", "test"))
    if not validation and not test:
        yield from ("The folder holds no record of the run.", "")
        return
    yield from ("| metric | validation | test |", "|---|---|---|")
    for name in dict.fromkeys((*validation, *test)):
        yield f"| {_cell(name)} | {_number(validation.get(name))} | {_number(test.get(name))} |"
    said = f"Epoch {record.get('best_epoch')} was selected by the validation's {record.get('monitor')}"
    yield from ("", f"{_cell(said)}; the test was scored once. Seed {record.get('seed')}.", "")


def _data(run: "LoadedRun", record: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Data", "", f"- {_cell(run.data.name)}, fingerprint `{_cell(run.data.fingerprint)}`")
    statistics = record.get("statistics") or {}
    known = [f"{statistics[n]:,.6g} {n}" for n in STATISTICS if isinstance(statistics.get(n), int | float)]
    if known:
        yield f"- {', '.join(known)}"
    yield f"- fields: {', '.join(f'`{_cell(f.name)}` ({f.side})' for f in run.data.schema.fields)}"
    yield from (f"- {_cell(k)}: {_cell(v)}" for k, v in (record.get("protocol_described") or {}).items())
    yield ""


def _options(run: "LoadedRun") -> Iterator[str]:
    yield from ("## Options", "", "```yaml")
    for part in GROUPS:
        for name, value in dict(run.identity.get(part) or {}).items():
            key = part if name == "name" else f"{part}.{name}"
            yield escaped_line(f"{key}: {json.dumps(value, default=str)}")
    yield from (f"{name}: {run.identity[name]}" for name in ("seed", "batch_size") if name in run.identity)
    yield from ("```", "")


def _limits(run: "LoadedRun", record: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Limits", "")
    yield "- It was judged on the data above alone, with one seed; other data may give other metrics."
    yield "- Values that training did not know are scored as the unknown value of their field."
    if run.data.log_odds:
        calibrated = "calibrated on the validation" if run.calibration is not None else "not calibrated"
        yield f"- `probability` is that of label 1 among the rows trained on, sampled negatives included; {calibrated}."
    shares = (record.get("audit") or {}).get("shares") or {}
    if (remembered := shares.get("pair in training")) is not None:
        yield f"- {100 * remembered:.3g} % of the test rows have a pair of user and item that stands in training."
    yield from (f"- {_cell(w)}" for w in record.get("warnings") or ())
    if run.data.seen is not None:
        yield "- `serving.bin` holds the ids of users and items, and which items every user has met."


def _cell(text: object) -> str:
    return escaped_line(str(text)).replace("|", "\\|").replace("`", "'")


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else ""
