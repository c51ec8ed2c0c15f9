"""Models wider than a device: latents are split over devices, and the results are one device's."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import optax
import pytest

from ae_jax.core import by_path
from ae_jax.devices.mesh import data_mesh, local
from ae_jax.models import Dictionary, Vanilla
from ae_jax.sparsifiers import BatchTopK, Gated, JumpReLU, L1Sparsifier, MatchingPursuit, TopK
from ae_jax.training import fit
from ae_jax.training.start import shapes_of

DIM, WIDTH = 6, 16
X = np.random.default_rng(0).normal(size=(26, DIM)).astype(np.float32)
TOP = Dictionary(width=WIDTH, sparsifier=TopK(active=3), dead_after=2)
LIVE = replace(TOP, dead_weight=0.0)
SPECS = {
    "top_k": replace(TOP, unit_norm=False),
    "matryoshka": replace(LIVE, prefixes=(4, WIDTH), unit_norm=False, refine=1),
    "batch_top_k": replace(LIVE, sparsifier=BatchTopK(active=3)),
    "jump_relu": replace(LIVE, sparsifier=JumpReLU(bandwidth=1.0, target_l0=4.0), resample_every=3),
    "l1": replace(LIVE, sparsifier=L1Sparsifier(weight=0.1), unit_norm=False, start="data"),
    "gated": replace(TOP, sparsifier=Gated(), center="median", normalize=True),
    "matching_pursuit": replace(TOP, sparsifier=MatchingPursuit(active=3), tied=True),
}


def trained(spec=TOP, epochs=3, **options):
    """Batches of 8, so that the last of an epoch is padded."""
    common = {"batch_size": 8, "optimizer": optax.adam(1e-2), "ema_decay": 0.9}
    return fit(spec.build((DIM,)), X, epochs=epochs, **common, **options)


def assert_same(got, want):
    close = partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-6)
    arrays, expected = (by_path(s.replace(key=None)) for s in (got.state, want.state))
    for path, array in expected.items():
        close(arrays[path], array, err_msg=path)
    for a, b in zip(got.history, want.history, strict=True):
        for name in b.keys() - {"split", "images_per_second"}:
            close(a[name], b[name], err_msg=name)


SOME = ("top_k", "batch_top_k", "jump_relu", "l1")


@pytest.mark.parametrize(
    "name", [n if n in SOME else pytest.param(n, marks=pytest.mark.slow) for n in SPECS]
)
def test_latents_on_two_devices_and_batches_on_two_equal_one_device(name):
    train = partial(trained, SPECS[name], eval_data=X[:7] if name == "batch_top_k" else None)
    assert_same(train(devices=4, model_devices=2), train())


def parts_of(state):
    """How many arrays four devices share: all that have an entry for each latent."""
    shared = 0
    for path, leaf in by_path(state).items():
        by_latent = leaf.shape[:1] == (WIDTH,)
        part = (WIDTH // 4, *leaf.shape[1:]) if by_latent else leaf.shape
        assert leaf.sharding.shard_shape(leaf.shape) == part, path
        shared += by_latent
    return shared


def test_a_run_resumes_on_another_mesh(tmp_path):
    train = partial(trained, run_dir=tmp_path / "run")
    train(epochs=1, devices=4, model_devices=2)
    wide = train(epochs=2, devices=4, model_devices=4, resume=True)
    assert_same(train(epochs=3, resume=True), trained())
    assert parts_of(wide.state) == 3 * 4 + 2  # tables, moments and averages; ages and their copy
    whole = local(wide.state)
    assert len(whole.params["decoder"].sharding.device_set) == 1
    jax.tree.map(np.testing.assert_array_equal, whole.params, wide.state.params)


@pytest.mark.parametrize("name", SPECS)
def test_devices_share_everything_with_an_entry_for_each_latent(name):
    spec, mesh = SPECS[name], data_mesh(4, 4)
    for tx in (optax.adam(1e-3), optax.contrib.muon(1e-3)):
        assert parts_of(shapes_of(spec.build((DIM,)), tx, mesh, ema=True)) >= 5


@pytest.mark.slow
def test_parameters_of_another_mesh_are_taken():
    first = trained(epochs=1, devices=4, model_devices=4).state
    again = trained(epochs=1, devices=2, params=first.params, model_state=first.model_state)
    assert np.isfinite(again.history[-1]["loss"])
    again = trained(epochs=1, devices=2, model_devices=2, params=again.state.params)
    assert again.state.params["decoder"].sharding.shard_shape((WIDTH, DIM)) == (WIDTH // 2, DIM)


@pytest.mark.parametrize(
    ("spec", "options", "says"),
    [
        (
            TOP,
            {"devices": 3, "model_devices": 3},
            "model_devices=3: must divide 16, the length of ",
        ),
        (TOP, {"devices": 4, "model_devices": 3}, "model_devices=3: must divide 4, the number of"),
        (TOP, {"devices": 4, "model_devices": 0}, "model_devices=0: must divide 4"),
        (
            Vanilla(latent_dim=2, loss="mse"),
            {"devices": 2, "model_devices": 2},
            "=2: this model has no",
        ),
    ],
)
def test_mistakes(spec, options, says):
    with pytest.raises(ValueError, match=says):
        fit(spec.build((DIM,)), X, steps=1, **options)


def test_a_partition_must_be_of_the_model():
    ae = replace(TOP.build((DIM,)), partition={"decodr": 0})
    with pytest.raises(
        ValueError, match=r"partition={'decodr': 0}: no such axis: the model has .*"
    ):
        fit(ae, X, steps=1, devices=2, model_devices=2)
