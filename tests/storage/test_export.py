"""Exported models: the same function elsewhere, and nothing that runs when loaded."""

import json
import shutil
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ae_jax import fit
from ae_jax.models import Dictionary, Variational
from ae_jax.networks import MLP
from ae_jax.sparsifiers import BatchTopK
from ae_jax.storage.export import export, load_exported
from ae_jax.storage.manifest import write_manifest
from ae_jax.storage.runs import load_run

RNG = np.random.default_rng(0)
X = np.uint8(RNG.integers(0, 256, size=(16, 6, 6, 1)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An exported VAE with averaged parameters, its state, and its data."""
    path = tmp_path_factory.mktemp("export")
    ae = Variational(network=MLP(widths=(8,)), latent_dim=2).build((6, 6, 1))
    state, _ = fit(ae, X, epochs=1, batch_size=8, eval_data=X, ema_decay=0.5, run_dir=path / "run")
    export(path / "run", path / "model")
    return ae, state, X, path


def test_averaged_parameters_are_the_ones_exported(shared):
    ae, state, _, path = shared
    loaded, variables, config = load_exported(path / "model")
    jax.tree.map(np.testing.assert_array_equal, variables["params"], state.ema["params"])
    assert config["step"] == 2 and loaded.spec == ae.spec


def test_a_folded_dictionary_keeps_the_units_of_its_data(tmp_path):
    """The run standardized its data: the programs and the loaded model take data as it is."""
    statistics = {"mean": [10.0, -5.0, 0.0], "std": [3.0, 0.5, 1.0]}
    x = np.float32(RNG.normal(size=(32, 3)))
    spec = Dictionary(width=6, sparsifier=BatchTopK(active=2), normalize=True)
    config = {"statistics": statistics}
    fit(spec.build((3,)), x, epochs=3, batch_size=8, run_dir=tmp_path / "run", config=config)
    ae, state, _ = load_run(tmp_path / "run")
    raw = np.float32(x * statistics["std"] + statistics["mean"])
    folder = export(tmp_path / "run", tmp_path / "model")
    loaded = load_exported(folder)
    want = ae.reconstruct(state.variables, raw)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    close(loaded.ae.reconstruct(loaded.variables, raw), want)
    program = jax.export.deserialize(bytearray((folder / "reconstruct.stablehlo").read_bytes()))
    close(program.call(raw), want)
    assert loaded.config["model"]["sparsifier"]["kind"] == "jump_relu"


@pytest.mark.slow
def test_the_programs_run_in_a_process_that_imports_only_jax(shared, tmp_path):
    ae, state, x, path = shared
    np.save(tmp_path / "x.npy", np.float32(x) / 255)
    code = f"""if True:
        import jax, sys
        import numpy as np
        content = open({str(path / "model" / "encode.stablehlo")!r}, "rb").read()
        z = jax.export.deserialize(bytearray(content)).call(np.load("x.npy"))
        np.save("z.npy", z)
        assert not any(m.split(".")[0] in ("ae_jax", "flax", "optax") for m in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = ae.encode(state.variables, x)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), expected, rtol=1e-5, atol=1e-6)


def test_the_card_says_what_it_is(shared):
    _, _, _, path = shared
    card = (path / "model" / "README.md").read_text()
    for text in ("variational", "[6, 6, 1]", "uint8[16, 6, 6, 1]", "| nll |", "| kl |", "jax 0."):
        assert text in card, text
    rows = [json.loads(line) for line in (path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert f"| loss | {rows[-1]['loss']:.6g} |" in card


@pytest.fixture
def copy(shared, tmp_path):
    return shutil.copytree(shared[3] / "model", tmp_path / "copy")


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    write_manifest(folder, {})


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    write_manifest(folder, {})


def huge_header(folder):
    """A header that declares a terabyte which the file does not hold."""
    entry = {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}
    header = json.dumps({"params/code/kernel": entry}).encode()
    content = len(header).to_bytes(8, "little") + header
    (folder / "model.safetensors").write_bytes(content)
    write_manifest(folder, {})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"x"), "has 1 bytes"),
        (lambda f: (f / "encode.stablehlo").unlink(), "encode.stablehlo is missing"),
        (lambda f: (f / "run.py").write_text(""), "run.py is not in manifest.json"),
        (lambda f: (f / "manifest.json").unlink(), "is not an exported model"),
        (lambda f: change_config(f, format=9), "has format 9, and this version of ae_jax reads 2"),
        (lambda f: change_config(f, model={"kind": "os.system"}), "model='os.system': known: "),
        (lambda f: change_config(f, model=None), "names no model, .* pass it as ae="),
        (lambda f: change_config(f, event_shape=[-1]), "event_shape"),
        (lambda f: change_config(f, event_shape=[7]), "in the model"),
        (lambda f: change_config(f, dtype="object"), "dtype='object'"),
        (lambda f: change_weights(f, lambda w: w.pop("params/mean/bias")), "only the model has"),
        (lambda f: change_weights(f, lambda w: w.update(more=np.ones(3))), "only the file has"),
        (
            lambda f: change_weights(f, lambda w: w.update({"params/mean/bias": np.ones(2)})),
            r"params/mean/bias is F64\[2\], but F32\[2\] in the model",
        ),
        (huge_header, "is damaged"),
    ],
)
def test_a_folder_that_was_tampered_with_is_one_line(copy, damage, message):
    damage(copy)
    with pytest.raises(ValueError, match=message) as caught:
        load_exported(copy)
    assert "\n" not in str(caught.value)


def test_nothing_is_overwritten(shared, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    for path in (tmp_path / "full", tmp_path / "full" / "file"):
        with pytest.raises(ValueError, match="exists and is not empty: choose another"):
            export(shared[3] / "run", path)
    assert (tmp_path / "full" / "file").read_text() == "mine"
    with pytest.raises(ValueError, match="is not a run directory"):
        export(tmp_path / "full", tmp_path / "new")
    assert not (tmp_path / "new").exists()
