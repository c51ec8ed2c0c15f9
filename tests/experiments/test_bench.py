"""The benchmark: that what it reports is so, its comparison of two runs, and its mistakes."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.models import Vanilla
from ae_jax.networks import RNN
from ae_jax.plots.figure import new_figure
from ae_jax.training import init_state, make_train_step
from experiments import bench
from experiments.benchmarks.flops import count_flops
from experiments.benchmarks.ours import measure
from experiments.benchmarks.report import comparison, speeds, table
from experiments.benchmarks.turns import merged, ratios

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def measured():
    return {"who": "ae_jax", **measure("simple", images=512, batch=64, rounds=2)}


def test_a_measurement_adds_up(measured):
    assert len(measured["epochs"]) == 2
    middle = np.mean(measured["epochs"])
    assert measured["images_per_second"] == pytest.approx(middle, abs=1)
    assert measured["step_ms"] == pytest.approx(6.4e4 / measured["images_per_second"], rel=1e-3)
    # Two products forward, three backward (none for the gradient of the input).
    assert measured["step_gflops"] == pytest.approx(5 * 2 * 64 * 784 * 32 / 1e9, rel=1e-2)
    assert 0 < measured["utilization"] < 1
    assert measured["process_megabytes"] > 50


@pytest.mark.parametrize(
    "mode", [pytest.param(m, marks=pytest.mark.slow) for m in ("step", "pmap", "sharded")]
)
def test_every_mode_measures_the_same_net(mode, measured):
    devices = 1 if mode == "step" else 2
    found = measure("simple", images=512, batch=64, rounds=1, mode=mode, devices=devices)
    assert found["step_gflops"] == pytest.approx(measured["step_gflops"], rel=0.2)


@pytest.mark.slow
def test_images_from_a_file(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (600, 28, 28, 1), np.uint8)
    np.save(tmp_path / "images.npy", x)
    found = measure("simple", images=512, batch=64, data=str(tmp_path / "images.npy"), rounds=1)
    assert found["images"] == 512 and found["images_per_second"] > 0


def test_flops_are_not_counted_of_what_nobody_asked_for():
    # The gradient of `product` in bfloat16 makes that of the data too, which the compiler drops.
    found = [measure_flops(dtype) for dtype in ("float32", "bfloat16")]
    assert found[0] == found[1] == 5 * 2 * 64 * 784 * 32


def measure_flops(dtype):
    ae, tx = replace(Vanilla(latent_dim=32).build((784,)), dtype=jnp.dtype(dtype)), optax.sgd(0.1)
    state = jax.eval_shape(lambda: init_state(ae, tx, jax.random.key(0)))
    return count_flops(make_train_step(ae, tx), state, {"x": np.zeros((64, 784), np.float32)})


def test_flops_are_counted_in_loops_and_branches():
    a, b, x = np.ones((3, 4)), np.ones((4, 5)), np.ones((1, 6, 6, 2))

    def fn(a, b, x):
        looped = jax.lax.scan(lambda c, _: (c, c @ b), a, None, length=7)[1]
        kernel = jnp.ones((3, 3, 2, 8))
        layout = ("NHWC", "HWIO", "NHWC")
        image = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
        chosen = jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: a @ b + a @ b)
        return looped, image, jax.jit(jnp.dot)(a, b), chosen

    product, image = 2 * 3 * 4 * 5, 2 * 36 * 8 * 9 * 2
    assert count_flops(fn, a, b, x) == (7 + 1 + 1) * product + image


def test_the_flops_of_an_lstm_count_its_steps():
    ae = Vanilla(network=RNN(widths=(5, 4)), latent_dim=None).build((9, 3))
    tx = optax.sgd(0.1)
    state = jax.eval_shape(lambda: init_state(ae, tx, jax.random.key(0)))
    flops = count_flops(make_train_step(ae, tx), state, {"x": np.zeros((2, 9, 3), np.float32)})
    # Forward, for its input, for its weights: three products of each, two of the first's input.
    encoder = 3 * 9 * 2 * 2 * (5 * 20 + 5 * 16 + 4 * 16)
    decoder = 3 * 2 * 2 * (4 * 20 + 9 * 5 * 20)  # the code is the input of every step
    inputs, outputs = 2 * 9 * 2 * 2 * 3 * 20, 3 * 9 * 2 * 2 * 5 * 3
    assert flops == encoder + decoder + inputs + outputs


def turn(*epochs, **more):
    return {"images_per_second": round(np.median(epochs)), "epochs": list(epochs), **more}


def test_turns_are_merged_to_the_one_in_the_middle():
    fast, middle, slow = turn(9, 9, 8), turn(5, 4, 7, step_ms=3), turn(1, 2, 2)
    turns = [[9, 9, 8], [1, 2, 2], [5, 4, 7]]
    expected = {"images_per_second": 5, "step_ms": 3, "turns": turns}
    assert merged([fast, slow, middle]) == expected
    assert merged([fast, slow])["images_per_second"] == 2
    assert merged([fast, {"error": "no torch"}]) == {"error": "no torch", "turns": [[9, 9, 8]]}


def test_ratios_are_those_of_each_turn_to_the_fastest_in_it():
    # The machine is half as fast in the second turn: ours and the peers' are slowed alike.
    ours = merged([turn(8, 6, 7), turn(4, 3, 3)])
    peer, other = merged([turn(5, 3, 4), turn(2, 2, 1)]), merged([turn(2, 2, 2), turn(3, 3, 3)])
    assert ratios(ours, [peer]) == [7 / 4, 3 / 2]
    assert ratios(ours, [peer, other]) == [7 / 4, 3 / 3]


PEER = {"who": "torch", "net": "simple", "dtype": "float32", "mode": "", "batch": 64}
FAILED = PEER | {"error": "ModuleNotFoundError: No module named 'torch'", "turns": []}


def test_tables_tell_the_ratio_to_each_peer_and_to_the_fastest(measured):
    ours = merged([measured, measured])
    epochs = {n: [round(speed / n) for speed in measured["epochs"]] for n in (2, 3, 4)}
    first, second = (
        PEER | merged([turn(*epochs[a]), turn(*epochs[b])]) for a, b in ((2, 3), (4, 2))
    )
    shown = table([ours, first, second | {"who": "keras"}, FAILED])
    ratio = ["2.00x (2.00 to 2.00)", "2.50x (2.00 to 3.00)", "3.00x (2.00 to 4.00)", ""]
    assert list(shown.columns[-1].cells) == ratio
    speed = list(shown.columns[2].cells)
    assert speed[1].endswith(f"({min(epochs[3]):,} to {max(epochs[2]):,})")
    assert "No module named" in speed[3]
    once = [merged([measured]), PEER | merged([turn(*epochs[2])])]
    assert list(table(once).columns[-1].cells) == ["2.00x", "2.00x"]
    assert list(table([ours, FAILED]).columns[-1].cells) == ["", ""]
    assert speeds([ours, first, FAILED]).get_label()


def test_a_peer_is_compared_with_ours_in_its_own_dtype(measured):
    ours, half = merged([measured]), [round(speed / 2) for speed in measured["epochs"]]
    bfloat16 = {"dtype": "bfloat16"} | merged([turn(*half)])
    peer = PEER | bfloat16
    both = table([ours, measured | bfloat16, peer]).columns[-1].cells
    assert list(both) == ["2.00x", "1.00x", "1.00x"]
    assert list(table([ours, peer]).columns[-1].cells) == ["2.00x", "2.00x"]


def test_comparisons_are_of_the_same_data(measured):
    slow = measured | {"images_per_second": measured["images_per_second"] // 2}
    assert next(iter(comparison([slow], [measured]).columns[4].cells)).startswith("2.0")
    assert comparison([slow], [measured]).title == "B over A"
    title = comparison([slow | {"device": "another"}], [measured]).title
    assert title.startswith("B (")
    assert title.endswith(f" over A (another, jax {jax.__version__})")
    for other in ({"dataset": "mnist"}, {"images": 1}, {"batch": 1}, {"mode": "step"}):
        with pytest.raises(ValueError, match="nothing was measured in both"):
            comparison([slow | other], [measured])


def test_nets_are_measured_in_turns(tmp_path, monkeypatch):
    asked = []

    def answer(command):
        script = next(part for part in command if "ours" in part or "baseline" in part)
        net = command[command.index(script) + 1]
        asked.append((net, "ours" if "ours" in script else script.rpartition("/")[-1]))
        at = asked[-1], asked.count(asked[-1])
        failed = at in ((("simple", "torch_baseline.py"), 1), (("deep", "ours"), 2))
        return {"error": "it failed"} if failed else turn(len(asked), device="cpu", jax="1")

    monkeypatch.setattr(bench, "run_apart", answer)
    monkeypatch.setattr(bench, "speeds", lambda results: new_figure(4, 3))
    out, peers = tmp_path / "a.json", ["torch", "keras"]
    bench.main(["simple", "deep", "--turns", "2", "--against", *peers, "--out", str(out)])
    # What failed is not tried again.
    simple = [("simple", who) for who in ("ours", "torch_baseline.py", "keras_baseline.py")]
    deep = [("deep", who) for who in ("ours", "torch_baseline.py", "keras_baseline.py")]
    assert asked == [*simple, simple[0], simple[2], *deep, *deep]
    results = json.loads(out.read_text())
    assert [r["turns"] for r in results] == [
        [[1], [4]],
        [],
        [[3], [5]],
        [[6]],
        [[7], [10]],
        [[8], [11]],
    ]
    assert {(r["dataset"], r["images"]) for r in results} == {("random", 60_000)}


@pytest.mark.slow
def test_a_run_writes_what_compare_reads(tmp_path, capsys):
    out = tmp_path / "a.json"
    command = ["simple", "--images", "512", "--rounds", "1", "--turns", "2"]
    bench.main([*command, "--out", str(out)])
    (result,) = json.loads(out.read_text())
    assert [len(epochs) for epochs in result["turns"]] == [1, 1]
    assert result["net"] == "simple" and result["images_per_second"] > 0
    assert out.with_suffix(".png").stat().st_size > 10_000
    bench.main(["--compare", str(out), str(out)])
    assert "1.00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["simpel"], "net simpel: did you mean 'simple'"),
        (["--dtype", "float16"], "--dtype float16"),
        (["--against", "tensorflow"], "--against tensorflow"),
        (["--rounds", "0"], "--rounds=0"),
        (["--dataset", "digits"], r"--dataset='digits': has examples of \(8, 8, 1\)"),
        (["--compare", "a.json", "b.json"], "a.json is not the JSON of a benchmark"),
        (["--devices", "2", "--x"], "Unrecognized options: --x.*: see --help"),
        (["--datset", "mnist"], "--datset.*: did you mean --dataset"),
        (["--turns", "0"], "--turns=0"),
    ],
)
def test_mistakes(args, message):
    with pytest.raises(ValueError, match=message):
        bench.main(args)


def test_a_batch_that_pmap_cannot_split():
    with pytest.raises(ValueError, match="batch=63: pmap splits it over 2 devices evenly"):
        measure("simple", batch=63, mode="pmap", devices=2)
