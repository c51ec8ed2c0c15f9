"""compute_loss(): weighted terms, masks, schedules, and the global batch under pmap."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.core import BatchTerm, Term, as_floats, compute_loss, event_mask, reconstruction
from ae_jax.losses import mse, sparsity_kl

X = jnp.asarray(np.random.default_rng(0).uniform(size=(8, 3)), jnp.float32)
RECON = jnp.asarray(np.random.default_rng(1).uniform(size=(8, 3)), jnp.float32)
OBJECTIVE = {
    "mse": Term(lambda outputs, batch: mse(outputs["recon"], batch["x"])),
    "l1": Term(lambda outputs, batch: jnp.abs(outputs["z"]).sum(-1), weight=0.5),
}
OUTPUTS = {"recon": RECON, "z": X - 0.5}


def test_weighted_sum_of_batch_means():
    loss, metrics = compute_loss(OBJECTIVE, OUTPUTS, {"x": X})
    x, recon = np.float64(X), np.float64(RECON)
    error = ((recon - x) ** 2).sum(1).mean()
    l1 = np.abs(x - 0.5).sum(1).mean()
    np.testing.assert_allclose(metrics["mse"], error, rtol=1e-6)
    np.testing.assert_allclose(metrics["l1"], l1, rtol=1e-6)
    np.testing.assert_allclose(loss, error + 0.5 * l1, rtol=1e-6)
    assert metrics["loss"] == loss


def test_mask_equals_dropping_rows():
    mask = jnp.asarray([1, 1, 0, 1, 0, 0, 1, 1], jnp.float32)
    padded = jnp.where(mask[:, None] > 0, X, jnp.nan)  # padding must not matter, whatever it holds
    masked, _ = compute_loss(OBJECTIVE, OUTPUTS, {"x": padded, "mask": mask})
    keep = np.flatnonzero(mask)
    outputs = {name: value[keep] for name, value in OUTPUTS.items()}
    dropped, _ = compute_loss(OBJECTIVE, outputs, {"x": X[keep]})
    np.testing.assert_allclose(masked, dropped, rtol=1e-6)


def test_schedule_and_traced_weights():
    warm_up = optax.linear_schedule(0.0, 2.0, 10)
    terms = {"l1": OBJECTIVE["l1"]._replace(weight=warm_up)}
    for step, weight in ((0, 0.0), (5, 1.0), (10, 2.0), (20, 2.0)):
        loss, metrics = compute_loss(terms, OUTPUTS, {"x": X}, step)
        np.testing.assert_allclose(loss, weight * metrics["l1"], rtol=1e-6)

    def loss_of(weight):
        return compute_loss({"l1": OBJECTIVE["l1"]._replace(weight=weight)}, OUTPUTS, {"x": X})[0]

    weights = jnp.asarray([0.0, 1.0, 3.0])
    looped = jnp.stack([loss_of(w) for w in weights])
    np.testing.assert_allclose(jax.vmap(loss_of)(weights), looped, rtol=1e-6)


def test_pmap_values_and_gradients_are_those_of_the_global_batch():
    terms = OBJECTIVE | {
        "kl": BatchTerm(
            lambda outputs, batch, axis_name: sparsity_kl(
                outputs["z"], 0.1, where=batch["mask"], axis_name=axis_name
            ),
            weight=0.3,
        )
    }
    mask = jnp.asarray([1, 1, 1, 0, 1, 0, 1, 1], jnp.float32)

    def loss_of(scale, x, recon, mask, axis_name=None):
        outputs = {"recon": scale * recon, "z": jax.nn.sigmoid(scale * x)}
        return compute_loss(terms, outputs, {"x": x, "mask": mask}, axis_name=axis_name)[0]

    value, grad = jax.value_and_grad(loss_of)(0.7, X, RECON, mask)

    def one_device(x, recon, mask):
        value, grad = jax.value_and_grad(loss_of)(0.7, x, recon, mask, axis_name="data")
        return value, jax.lax.pmean(grad, "data")

    split = jax.tree.map(lambda a: a.reshape(4, 2, *a.shape[1:]), (X, RECON, mask))
    values, grads = jax.pmap(one_device, axis_name="data")(*split)
    np.testing.assert_allclose(values, np.full(4, value), rtol=1e-5)
    np.testing.assert_allclose(grads, np.full(4, grad), rtol=1e-5)


def test_terms_of_wrong_rank_are_named():
    with pytest.raises(ValueError, match=r"term 'bad' returned shape \(8, 3\)"):
        compute_loss({"bad": Term(lambda outputs, batch: outputs["recon"])}, OUTPUTS, {"x": X})
    with pytest.raises(ValueError, match="term 'bad'.*a statistic of the batch"):
        term = BatchTerm(lambda outputs, batch, axis_name: outputs["z"])
        compute_loss({"bad": term}, OUTPUTS, {"x": X})


def test_reconstruction_and_floats():
    assert (reconstruction({"recon": RECON}) == RECON).all()
    np.testing.assert_allclose(reconstruction({"logits": jnp.zeros(3)}), 0.5)
    pixels = jnp.asarray([[0, 51, 255]], jnp.uint8)
    np.testing.assert_allclose(as_floats(pixels), [[0.0, 0.2, 1.0]], rtol=1e-7)
    assert as_floats(X) is X


def test_event_mask():
    batch = {"x": jnp.zeros((2, 4, 3)), "length": jnp.asarray([1, 4])}
    mask = event_mask(batch)
    np.testing.assert_array_equal(mask[..., 0], [[1, 0, 0, 0], [1, 1, 1, 1]])
    assert mask.shape == (2, 4, 1)
    assert event_mask({"x": batch["x"]}) is None
