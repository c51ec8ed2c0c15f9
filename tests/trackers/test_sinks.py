"""Each sink without a network: what it was told is read back from what it wrote."""

import json
import math
import sqlite3
import struct
from contextlib import closing

import pytest

from ae_jax.trackers import TrackedRun, make_trackers

NAN = math.nan
ROWS = [
    (3, {"train/loss": 1.5, "train/skipped": 2.0}),
    (3, {"test/loss": 2.5}),
    (6, {"train/loss": NAN, "train/skipped": 0.0}),
]
LATER = [(9, {"train/loss": 0.25})]
CONFIG = {"model.latent_dim": 2, "train.schedule": "cosine", "train.ema_decay": None, "seed": 0}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    (tmp_path / "a").mkdir()
    return TrackedRun("0f0f0f0f", "a", tmp_path / "a", CONFIG)


def use(name, run, rows, *, failed=False):
    (tracker,) = make_trackers([name])
    tracker.start(run)
    for row in rows:
        tracker.log(*row)
    tracker.close(failed=failed)


def series(found):
    """``{name: [(step, value)]}``, NaN as a word so that it equals itself."""
    out = {}
    for step, name, value in found:
        out.setdefault(name, []).append((step, "nan" if math.isnan(value) else value))
    return out


EXPECTED = {
    "train/loss": [(3, 1.5), (6, "nan"), (9, 0.25)],
    "train/skipped": [(3, 2.0), (6, 0.0)],
    "test/loss": [(3, 2.5)],
}


def events(folder):
    """Of TensorBoard's files: records of length, checksum, data, checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    for file in sorted(folder.glob("events.*")):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def test_tensorboard(run):
    pytest.importorskip("tensorboardX")
    use("tensorboard", run, ROWS)
    use("tensorboard", run, LATER)
    values = [(e.step, v) for e in events(run.folder / "tensorboard") for v in e.summary.value]
    found = [(step, v.tag, v.simple_value) for step, v in values if not v.HasField("tensor")]
    assert series(found) == EXPECTED
    (text,) = [v.tensor.string_val[0].decode() for _, v in values if v.HasField("tensor")]
    assert "| model.latent_dim | 2 |" in text and "| train.schedule | cosine |" in text


def wandb_records(file):
    """Of an offline run: 7 bytes, then parts of records (checksum, length, kind) in blocks."""
    record_pb2 = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    data, at, whole = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:  # padding
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record_pb2.Record.FromString(whole)
            whole = b""


def test_wandb(run):
    wandb = pytest.importorskip("wandb")
    use("wandb", run, ROWS)
    use("wandb", run, LATER, failed=True)
    wandb.teardown()  # waits for the process that writes
    files = sorted(run.folder.parent.glob("wandb/offline-run-*/run-0f0f0f0f.wandb"))
    found, config, codes = [], {}, []
    for record in (record for file in files for record in wandb_records(file)):
        items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
        step = int(items.pop("_step", 0))
        found += [(step, k, float(json.loads(v))) for k, v in items.items() if k[0] != "_"]
        for update in (record.config.update, record.run.config.update):
            config |= {i.key: json.loads(i.value_json) for i in update}
        if record.HasField("exit"):
            codes.append(record.exit.exit_code)
    assert series(found) == EXPECTED
    assert CONFIG.items() <= config.items()
    assert codes == [0, 1]


def read_mlflow(uri):
    from mlflow import tracking

    client = tracking.MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'ae_jax'")
    (stored,) = client.search_runs([experiment.experiment_id])
    found = []
    for name in stored.data.metrics:
        history = client.get_metric_history(stored.info.run_id, name)
        found += [(metric.step, name, metric.value) for metric in history]
    assert series(sorted(found)) == EXPECTED
    assert stored.data.params == {name: str(value) for name, value in CONFIG.items()}
    assert stored.info.run_name == "a" and stored.info.status == "FAILED"


@pytest.mark.parametrize(
    "store", ["folder", pytest.param("database", marks=pytest.mark.slow)]
)  # whose tables take seconds to make
def test_mlflow(run, store, monkeypatch):
    pytest.importorskip("mlflow")
    if store == "database":
        pytest.importorskip("sqlalchemy")
    place = {"folder": "mlruns", "database": "sqlite:///tracked.db"}[store]
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    use("mlflow", run, ROWS)
    use("mlflow", run, LATER, failed=True)
    read_mlflow(place)


def test_trackio(run, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")  # read at its import
    use("trackio", run, ROWS)
    use("trackio", run, LATER)
    (file,) = (tmp_path / "trackio").glob("*.db")
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
        ((config,),) = database.execute("SELECT config FROM configs").fetchall()
    assert {name for name, _, _ in rows} == {"a-0f0f0f0f"}
    rows = [(step, json.loads(metrics)) for _, step, metrics in rows]
    found = [(step, name, float(value)) for step, row in rows for name, value in row.items()]
    assert series(found) == EXPECTED
    assert CONFIG.items() <= json.loads(config).items()
