"""Several devices compute what one does: shard_map, `fit`, accumulation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from ae_jax.data.memory import batch_at, sequential_order
from ae_jax.devices.mesh import data_mesh, replicated, split
from ae_jax.models import Contractive, Convolutional, Sparse, Tied, Vanilla, Variational
from ae_jax.networks import MLP, ConvNet
from ae_jax.training import fit, init_state, make_train_step
from ae_jax.training.loop import make_train_loop, no_sums

SGD = optax.sgd(0.1)
WIDE = MLP(widths=(8,), activation="tanh")
VANILLA = Vanilla(network=WIDE, latent_dim=4)
KL = Sparse(network=WIDE, penalty="kl", weight=0.1, latent_dim=3, latent_activation="sigmoid")
SLOW = pytest.mark.slow
OTHERS = [
    pytest.param(spec, marks=SLOW)
    for spec in (
        Contractive(weight=0.1, latent_dim=3),
        Convolutional(network=ConvNet(filters=(4, 3))),
        Tied(network=WIDE, latent_dim=3),
    )
]
MORE = [(VANILLA, True), (KL, False)]
X = np.random.default_rng(0).random((18, 4, 3), np.float32)
BATCH = {"x": jnp.asarray(X[:16]), "mask": jnp.asarray([1] * 11 + [0] * 5, jnp.float32)}


def three(step, state, batch):
    for _ in range(3):
        state, metrics = step(state, batch)
    return state, metrics


def assert_same(got, want, rtol=1e-5):
    close = partial(np.testing.assert_allclose, rtol=rtol, atol=1e-6)
    jax.tree.map(close, got[0].params, want[0].params)
    jax.tree.map(close, got[1], want[1])


@pytest.mark.parametrize(
    ("spec", "check_vma"),
    [(VANILLA, False), (KL, True), *(pytest.param(*p, marks=SLOW) for p in MORE)],
)
def test_shard_map_equals_one_device(spec, check_vma, numpy_state):
    """`test_variants` compares a sharded batch and pmap, for every model."""
    ae = spec.build((4, 3))
    state = numpy_state(ae, SGD)
    mapped = jax.shard_map(
        make_train_step(ae, SGD, axis_name="data"),
        mesh=data_mesh(4),
        check_vma=check_vma,
        in_specs=(P(), P("data")),
        out_specs=P(),
    )
    want = three(jax.jit(make_train_step(ae, SGD)), state, BATCH)
    assert_same(three(jax.jit(mapped), state, BATCH), want)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [8, 6])
def test_fit_on_four_devices_equals_fit_on_one(batch_size):
    ae = Variational(network=WIDE, latent_dim=2).build((4, 3))
    train = partial(fit, ae, X, epochs=2, batch_size=batch_size, optimizer=SGD, eval_data=X[:7])
    one, four = train(), train(devices=4)
    assert len(four.state.step.sharding.device_set) == 4
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, four.state.params, one.state.params)
    for a, b in zip(four.history, one.history, strict=True):
        for name in ("step", "epoch", "loss", "nll", "kl"):
            close(a[name], b[name])


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(tmp_path):
    ae = VANILLA.build((4, 3))
    train = partial(fit, ae, X, batch_size=6, optimizer=optax.adam(1e-2))
    whole = train(epochs=2)
    train(epochs=1, devices=4, run_dir=tmp_path / "run")
    rest = train(epochs=2, devices=2, run_dir=tmp_path / "run", resume=True)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, rest.state.params, whole.state.params)
    jax.tree.map(close, rest.state.opt_state, whole.state.opt_state)


def test_batches_are_split_over_the_devices_and_gradients_added_between_them():
    """The compiled loop works on a quarter of the batch and has an all-reduce."""
    ae, mesh = VANILLA.build((4, 3)), data_mesh(4)
    state = jax.device_put(init_state(ae, SGD, jax.random.key(0)), replicated(mesh))
    order = jax.device_put(sequential_order(count=16, batch_size=8, multiple=4), split(mesh, 1))
    data = (jax.device_put({"x": X[:16]}, replicated(mesh)), order)
    loop = jax.jit(make_train_loop(make_train_step(ae, SGD), partial(batch_at, padded=False)))
    none = no_sums(("loss", *ae.objective))
    text = loop.lower(state, none, data, np.int32(0), np.int32(2)).compile().as_text()
    assert "all-reduce" in text
    assert "f32[2,8]" in text and "f32[8,8]" not in text  # 2 rows of the hidden layer on each


@pytest.mark.parametrize("mask", [pytest.param(False, marks=SLOW), True], ids=["full", "padded"])
@pytest.mark.parametrize("spec", [VANILLA, *OTHERS], ids=lambda spec: spec.kind)
def test_accumulation_equals_the_larger_batch(spec, mask, numpy_state):
    ae = spec.build((4, 3))
    state = numpy_state(ae, SGD)
    batch = BATCH if mask else {"x": BATCH["x"]}
    want = three(jax.jit(make_train_step(ae, SGD)), state, batch)
    got = three(jax.jit(make_train_step(ae, SGD, accumulate=4)), state, batch)
    assert_same(got, want)


def test_accumulation_on_several_devices(numpy_state):
    ae = VANILLA.build((4, 3))
    state = numpy_state(ae, SGD)
    step = make_train_step(ae, SGD, axis_name="data", accumulate=2)
    batch = jax.tree.map(lambda a: a.reshape(4, 4, *a.shape[1:]), BATCH)
    mapped = jax.pmap(step, axis_name="data", in_axes=(None, 0), out_axes=None)
    want = three(jax.jit(make_train_step(ae, SGD)), state, BATCH)
    assert_same(three(mapped, state, batch), want)


@pytest.mark.slow
def test_fit_accumulates():
    ae = VANILLA.build((4, 3))
    train = partial(fit, ae, X, epochs=2, optimizer=SGD, eval_data=X)
    large, small = train(batch_size=8), train(batch_size=4, accumulate=2)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, small.state.params, large.state.params)
    assert [row["step"] for row in small.history] == [row["step"] for row in large.history]


@pytest.mark.slow
def test_each_accumulated_part_draws_its_own_noise():
    """Parts of one row each, all rows alike: two as four would be, if they shared their noise."""
    ae = Variational(latent_dim=2).build((6,))
    state = init_state(ae, SGD, jax.random.key(0))

    def nll(rows):
        step = jax.jit(make_train_step(ae, SGD, accumulate=rows))
        return step(state, {"x": jnp.full((rows, 6), 0.3)})[1]["nll"]

    assert nll(2) != nll(4)


@pytest.mark.slow
def test_fit_accumulates_on_several_devices():
    ae = VANILLA.build((4, 3))
    train = partial(fit, ae, X, epochs=2, optimizer=SGD)
    one, four = train(batch_size=16), train(batch_size=8, accumulate=2, devices=4)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, four.state.params, one.state.params)


def test_accumulated_parts_are_split_over_the_devices_too(numpy_state):
    ae, mesh = VANILLA.build((4, 3)), data_mesh(4)
    state = jax.device_put(numpy_state(ae, SGD), replicated(mesh))
    batch = jax.device_put({"x": X[:16]}, split(mesh))
    step = jax.jit(make_train_step(ae, SGD, accumulate=2))
    text = step.lower(state, batch).compile().as_text()
    assert "all-reduce" in text
    assert "f32[2,8]" in text and "f32[8,8]" not in text  # 2 rows of each part on each device


@pytest.mark.slow
def test_parameters_from_another_mesh_are_taken():
    ae = VANILLA.build((4, 3))
    first = fit(ae, X, epochs=1, batch_size=6, devices=4).state
    again = fit(ae, X, epochs=1, batch_size=6, devices=2, params=first.params)
    assert np.isfinite(again.history[-1]["loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 9}, "devices=9: there are 4 .*jax_num_cpu_devices"),
        ({"devices": 0}, "devices=0"),
        ({"accumulate": 0}, "accumulate=0: must be an integer >= 1"),
        ({"accumulate": 5}, "batch_size=4, 5 times: larger than the data, 18"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        fit(VANILLA.build((4, 3)), X, epochs=1, batch_size=4, **options)


def test_a_term_of_the_whole_batch_cannot_be_accumulated():
    with pytest.raises(ValueError, match="accumulate=2: the term 'sparsity_kl' is a statistic"):
        make_train_step(KL.build((4, 3)), SGD, accumulate=2)
