"""State that no gradient moves: exact in bfloat16, guarded, of one dtype on many devices."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax import export, load_exported, load_run
from ae_jax.core import Autoencoder, Term, init_state
from ae_jax.data.memory import epoch_order, row_of
from ae_jax.losses import mse
from ae_jax.training import DivergedError, fit, make_train_step, sweep
from ae_jax.training.diagnosis import first_not_finite
from experiments.stress.worker import digest
from tests.core.models import batch_norm

pytestmark = pytest.mark.usefixtures("compiled_once")
SGD = optax.sgd(0.01)
X = np.float32(np.random.default_rng(0).uniform(0.5, 1.0, size=(24, 6)))
INTEGERS = {
    "int8": -3,
    "uint8": 200,
    "int16": -300,
    "uint16": 60_000,
    "int32": -7,
    "uint32": 2**32 - 5,
}


class Counted(nn.Module):
    """Counters of every dtype and running averages, some of them scalars."""

    integers: tuple[str, ...] = tuple(INTEGERS)

    def setup(self):
        self.encoder, self.decoder = nn.Dense(3), nn.Dense(6)
        self.counts = {
            name: self.variable("counts", name, lambda n=name: jnp.asarray(INTEGERS[n], n))
            for name in self.integers
        }
        self.flag = self.variable("counts", "flag", jnp.zeros, (), jnp.bool_)
        self.half = self.variable("counts", "half", jnp.zeros, (2,), jnp.bfloat16)
        self.rows = self.variable("counts", "rows", jnp.zeros, ())
        self.average = self.variable("stats", "average", jnp.zeros, ())
        self.log_mean = self.variable("stats", "log_mean", jnp.zeros, (6,))

    def __call__(self, x, mask=None):
        if self.is_mutable_collection("stats") and not self.is_initializing():
            for counter in self.counts.values():
                counter.value = counter.value + jnp.ones_like(counter.value)
            self.flag.value = ~self.flag.value
            self.half.value = self.half.value + 1
            self.rows.value = self.rows.value + (float(len(x)) if mask is None else mask.sum())
            self.average.value = 0.999 * self.average.value + 0.001
            self.log_mean.value = 0.9 * self.log_mean.value + 0.1 * jnp.log(x).mean(0)
        return {"recon": self.decode(self.encode(x))["recon"]}

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return {"recon": self.decoder(z)}


AE = Autoencoder(
    Counted(), {"mse": Term(lambda o, b: mse(o["recon"], b["x"]))}, (6,), columns={"mask": ()}
)


def started(ae=AE, **options):
    return jax.jit(lambda: init_state(ae, SGD, jax.random.key(0), **options))()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_counters_and_averages_are_exact(dtype):
    """bfloat16 ends counting at 256, and its average of ones at 0.5."""
    step = make_train_step(replace(AE, dtype=dtype), SGD)
    batch = {"x": jnp.asarray(X[:4]), "mask": jnp.asarray([1.0, 1.0, 1.0, 0.0])}
    run = jax.jit(lambda state: jax.lax.fori_loop(0, 1000, lambda _, s: step(s, batch)[0], state))
    state = run(started())
    counts, stats = state.model_state["counts"], state.model_state["stats"]
    assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, started())
    for name, first in INTEGERS.items():
        wanted = np.asarray(first).astype(name) + np.arange(1000, 1001).astype(name)
        assert counts[name] == wanted[0], name
    assert counts["rows"] == 3000.0 and not counts["flag"]
    np.testing.assert_allclose(stats["average"], 1 - 0.999**1000, rtol=1e-4)


def test_rows_are_counted_in_bfloat16_too():
    """511 is no number of bfloat16: the mask of a batch stays float32."""
    x, mask = jnp.asarray(np.resize(X, (512, 6))), jnp.asarray([1.0] * 511 + [0.0])
    half = make_train_step(replace(AE, dtype=jnp.bfloat16), SGD)
    state, _ = jax.jit(half)(started(), {"x": x, "mask": mask})
    assert state.model_state["counts"]["rows"] == 511.0


def test_a_nan_in_it_alone_is_not_committed(tmp_path):
    """The logarithm of a negative value, which the loss does not read."""
    x = X.copy()
    x[5, 2] = -1.0
    step = jax.jit(make_train_step(AE, SGD, guard=True, ema_decay=0.9))
    state, _ = step(started(ema=True), {"x": X[:8]})
    moved, metrics = step(state, {"x": x[:8]})
    assert np.isfinite(metrics["loss"]) and not metrics["finite"]
    assert digest(moved.replace(step=state.step)) == digest(state)
    assert first_not_finite(AE, state, {"x": x[:8]})[0] == "the new untrained state stats/log_mean"
    with pytest.raises(DivergedError) as caught:
        fit(AE, x, epochs=1, batch_size=8, optimizer=SGD, run_dir=tmp_path / "run")
    message = str(caught.value)
    assert "its loss, its gradient or its new state was not finite" in message
    assert (
        "the first value that is not finite is in the new untrained state stats/log_mean" in message
    )
    state, history = fit(AE, x, epochs=3, batch_size=8, optimizer=SGD, max_skips=3)
    assert sum(row.get("skipped", 0) for row in history) == 3
    assert np.isfinite(state.model_state["stats"]["log_mean"]).all()
    assert state.model_state["counts"]["int32"] == -7 + 6  # of 9 steps, 3 were skipped


@pytest.mark.parametrize("guard", [False, True])
def test_pmap_keeps_its_dtypes(guard):
    state = started(ema=True)
    batch = {"x": jnp.asarray(X[:16]), "mask": jnp.ones(16)}
    # Sums over the batch are the module's own affair, with axis_name: here all devices are alike.
    batch["x"] = jnp.tile(batch["x"][:4], (4, 1))
    options = {"ema_decay": 0.9, "guard": guard}
    step = make_train_step(AE, SGD, axis_name="data", **options)
    mapped = jax.pmap(step, axis_name="data", in_axes=(None, 0), out_axes=None)
    got, _ = mapped(state, jax.tree.map(lambda a: a.reshape(4, 4, *a.shape[1:]), batch))
    want, _ = jax.jit(make_train_step(AE, SGD, **options))(
        state, {"x": batch["x"][:4], "mask": jnp.ones(4)}
    )
    assert jax.tree.map(jnp.result_type, got) == jax.tree.map(jnp.result_type, want)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got.model_state, want.model_state
    )


def test_what_is_exported_and_loaded_is_exact(tmp_path):
    """Scalars, integers, booleans and bfloat16, from the checkpoint and from the exported file."""
    state, _ = fit(AE, X, epochs=1, batch_size=8, ema_decay=0.9, run_dir=tmp_path / "run")
    export(tmp_path / "run", tmp_path / "model", ae=AE)
    exported = load_exported(tmp_path / "model", ae=AE).variables
    for got in (load_run(tmp_path / "run", ae=AE).state.variables, exported):
        assert jax.tree.map(jnp.result_type, got) == jax.tree.map(jnp.result_type, state.variables)
        jax.tree.map(np.testing.assert_array_equal, got, state.variables)


def test_accumulation_is_refused():
    message = (
        r"accumulate=4: the model keeps untrained state \(counts, stats\), which a whole batch "
        "updates: remove accumulate"
    )
    with pytest.raises(ValueError, match=message):
        fit(AE, X, steps=1, batch_size=4, accumulate=4)


def test_a_run_starts_from_a_given_state():
    given = jax.tree.map(lambda a: a + jnp.ones_like(a), started().model_state)
    one, _ = fit(AE, X, steps=1, batch_size=8, model_state=given, ema_decay=0.5)
    assert one.model_state["counts"]["int32"] == INTEGERS["int32"] + 2
    np.testing.assert_allclose(one.model_state["stats"]["average"], 1.0, rtol=1e-6)
    many = sweep(lambda: AE, {}, [0, 1], X, epochs=1, batch_size=24, model_state=given)
    assert many.state.model_state["counts"]["int32"].tolist() == [INTEGERS["int32"] + 2] * 2
    given["stats"]["average"] += 1  # it was copied, and is still there


def test_the_average_covers_it():
    state, step = started(ema=True), jax.jit(make_train_step(AE, SGD, ema_decay=0.5))
    average = np.float64(state.model_state["stats"]["log_mean"])
    for _ in range(3):
        state, _ = step(state, {"x": X})
        average = 0.5 * average + 0.5 * np.float64(state.model_state["stats"]["log_mean"])
    np.testing.assert_allclose(state.variables["stats"]["log_mean"], average, rtol=1e-5)
    # An average of integers is none.
    assert state.variables["counts"]["int32"] == state.model_state["counts"]["int32"]
    assert state.variables["counts"]["int32"].dtype == jnp.int32


@pytest.mark.parametrize(
    ("count", "batch_size", "multiple"), [(129, 128, 1), (50, 16, 4), (9, 6, 4)]
)
def test_padding_is_never_many_copies_of_one_example(count, batch_size, multiple):
    order = np.asarray(
        epoch_order(jax.random.key(0), 0, count=count, batch_size=batch_size, multiple=multiple)
    )
    padding = row_of(order[order < 0])
    copies = np.bincount(padding, minlength=count)
    assert len(padding) > 0 and copies.max() - copies.min() <= 1
    for rows in order:
        assert np.bincount(row_of(rows)).max() <= 2 + len(rows) // count


@pytest.mark.slow
def test_batch_normalization_of_padded_digits_is_that_of_cut_ones():
    """1437 digits in batches of 128, 29 in the last: the averages are those of real rows."""
    from sklearn.datasets import load_digits

    x = np.float32(load_digits().data / 16)[:1437]
    from tests.core.models import BatchNorm

    class Wide(BatchNorm):
        def setup(self):
            self.encoder, self.latent, self.decoder = nn.Dense(64), nn.Dense(8), nn.Dense(64)

    ae = replace(batch_norm(), module=Wide(), event_shape=(64,))
    # Not Adam: a bias before the normalization has no gradient but rounding, which Adam scales.
    tx = optax.sgd(0.02, momentum=0.9)
    padded, _ = fit(ae, x, epochs=3, batch_size=128, optimizer=tx)
    init_key, order_key, _ = jax.random.split(jax.random.key(0), 3)
    state, step = init_state(ae, tx, init_key), jax.jit(make_train_step(ae, tx))
    for epoch in range(3):
        for rows in np.asarray(epoch_order(order_key, epoch, count=1437, batch_size=128)):
            state, _ = step(state, {"x": x[rows[rows >= 0]]})
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        padded.model_state,
        state.model_state,
    )
    recon = [np.asarray(ae.reconstruct(s.variables, x)) for s in (padded, state)]
    np.testing.assert_allclose(recon[0], recon[1], rtol=1e-2, atol=5e-3)
