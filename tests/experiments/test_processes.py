"""Two real processes over loopback train the model that one process trains."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from ae_jax import load_run
from ae_jax.storage.checkpoint import Checkpoints
from experiments.processes import Processes
from experiments.train import main

ROOT = Path(__file__).parents[2]
SHORT = ["digits", "--train.batch-size", "64", "--train.epochs", "2"]


def start(*args, devices=2):
    """`experiments.train` in a process of its own, on simulated CPU devices."""
    flags = os.environ.get("XLA_FLAGS", "")
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.train", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=env,
    )


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start_two(*args, timeout=60):
    port = free_port()
    several = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", 2, "--timeout", timeout]
    return [start(*args, *several, "--process-id", i) for i in range(2)]


def finish(*processes):
    outputs = [process.communicate(timeout=240) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [out for out, _ in outputs]


def rows(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    left_out = ("images_per_second", "split")
    return [{k: v for k, v in row.items() if k not in left_out} for row in found]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same training by one process and by two; what the two printed."""
    path = tmp_path_factory.mktemp("runs")
    printed = finish(*start_two(*SHORT, "--run-dir", path / "two"))
    main([*SHORT, "--run-dir", str(path / "one")])
    return path / "one", path / "two", printed


@pytest.mark.slow
def test_two_processes_train_what_one_does(runs):
    one, two, printed = runs
    assert "test metrics" in printed[0] and "metrics" not in printed[1]  # the first speaks
    for a, b in zip(rows(two), rows(one), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    states = [load_run(run).state for run in (one, two)]
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, *(state.params for state in states))


@pytest.mark.slow
def test_what_two_processes_saved_one_goes_on_with_and_back(runs, tmp_path):
    one, two = (shutil.copytree(run, tmp_path / run.name) for run in runs[:2])
    finish(start("--resume", two, "--train.epochs", 3))
    finish(*start_two("--resume", one, "--train.epochs", 3, "--train.stream", "True"))
    assert len(rows(one)) == len(rows(two)) == 6
    assert rows(one)[-1] == pytest.approx(rows(two)[-1], rel=1e-4)


@pytest.mark.slow
def test_two_processes_share_the_latents_of_a_dictionary(tmp_path):
    """Each of four devices, two of each process, holds a quarter of them."""
    wide = [*SHORT, "--model.kind", "dictionary", "--model.width", "64"]
    finish(*start_two(*wide, "--model-devices", 4, "--run-dir", tmp_path / "two"))
    main([*wide, "--run-dir", str(tmp_path / "one")])
    for a, b in zip(rows(tmp_path / "two"), rows(tmp_path / "one"), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    states = [load_run(tmp_path / name).state for name in ("one", "two")]
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, *(state.params for state in states))


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_dies_the_other_ends(tmp_path, victim):
    long = ["digits", "--train.epochs", "100000", "--run-dir", tmp_path / "run"]
    processes = start_two(*long, timeout=10)
    metrics = tmp_path / "run" / "metrics.jsonl"
    until = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 4):
        assert time.monotonic() < until
        time.sleep(0.5)
    processes[victim].send_signal(signal.SIGKILL)
    other = processes[1 - victim]
    began = time.monotonic()
    _, errors = other.communicate(timeout=90)
    assert time.monotonic() - began < 60
    assert other.returncode != 0 and errors.strip()
    processes[victim].communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "asked", "codes"),
    [
        (signal.SIGTERM, 0, [143, 143]),
        (signal.SIGTERM, 1, [143, 143]),
        (signal.SIGINT, 1, [143, 130]),
    ],
)
def test_when_one_process_is_asked_to_end_all_save_the_same_step(tmp_path, number, asked, codes):
    """By jax's preemption service; one process then goes on where two were, to the same end."""
    options = ["digits", "--train.batch-size", 64, "--train.epochs", 400]
    options += ["--train.checkpoint-every", 1000]  # none but what the signal saves
    run = tmp_path / "run"
    processes = start_two(*options, "--run-dir", run)
    metrics, until = run / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 4):
        assert time.monotonic() < until
        time.sleep(0.1)
    processes[asked].send_signal(number)
    outputs = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == codes, outputs
    (step,) = Checkpoints(run / "checkpoints", read_only=True).steps()
    assert all(f"the run ended at step {step}" in output for output in outputs)
    written = rows(run)
    assert step - 46 < written[-1]["step"] <= step  # 23 steps to an epoch
    finish(start("--resume", run, "--train.epochs", step // 23 + 2))
    resumed = rows(run)
    assert resumed[: len(written)] == written
    assert [row["step"] for row in resumed[::2]] == list(range(23, resumed[-1]["step"] + 1, 23))


def test_a_coordinator_that_does_not_answer():
    processes = Processes(
        coordinator=f"127.0.0.1:{free_port()}", num_processes=2, process_id=1, timeout=1
    )
    with pytest.raises(ValueError, match="no answer in 1 s .*is process 0 running there"):
        processes.join()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_processes": 2}, "need --coordinator"),
        ({"coordinator": "host:1"}, "needs --num-processes and --process-id"),
        ({"coordinator": "host", "num_processes": 2, "process_id": 0}, "must be HOST:PORT"),
        ({"coordinator": "host:1", "num_processes": 2, "process_id": 2}, "must be in 0 .. 1"),
        ({"coordinator": "host:1", "distributed": True}, "remove --coordinator"),
        ({"timeout": 0}, "at least 1 second"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        Processes(**options).check()
