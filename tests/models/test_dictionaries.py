"""What dictionaries do beside their sparsifiers: prefixes, dead latents, starts, transcoding."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

from ae_jax.core import by_path
from ae_jax.models import Dictionary
from ae_jax.models.dictionaries.resampling import resampled
from ae_jax.models.dictionaries.starting import geometric_median, started
from ae_jax.models.dictionaries.unit_rows import unit_rows
from ae_jax.sparsifiers import (
    BatchTopK,
    Gated,
    JumpReLU,
    L1Sparsifier,
    MatchingPursuit,
    TopK,
)
from ae_jax.training import fit, make_train_step

TOP = Dictionary(width=12, sparsifier=TopK(active=3), dead_weight=0.0)
DIM = 5


@pytest.fixture(scope="module")
def x():
    return jnp.float32(np.random.default_rng(0).normal(size=(9, DIM)))


@pytest.fixture(scope="module")
def outputs_of(numpy_state):
    def make(spec, x, age=None, **columns):
        ae = spec.build(x.shape[1:])
        state = numpy_state(ae, optax.sgd(0.1))
        latents = dict(state.model_state["latents"])
        latents["age"] = jnp.zeros(spec.width, jnp.int32) if age is None else age
        state = state.replace(model_state={**state.model_state, "latents": latents})
        return ae, state, ae.outputs(state.variables, {"x": x, **columns})

    return make


def test_refinement_is_iterative_thresholding(x, outputs_of):
    spec = replace(TOP, refine=2)
    _, state, outputs = outputs_of(spec, x)
    p = {name: np.float64(leaf) for name, leaf in state.params.items()}
    inputs = np.float64(x) - p["bias"]

    def top(pre):
        least = np.sort(pre, axis=1)[:, -3][:, None]
        return np.where(pre >= least, np.maximum(pre, 0), 0)

    z = top(inputs @ p["encoder"].T + p["encoder_bias"])
    for _ in range(2):
        z = top(z + (inputs - z @ p["decoder"]) @ p["encoder"].T)
    np.testing.assert_allclose(outputs["z"], z, rtol=1e-4, atol=1e-5)


def test_pruned_latents_explain_little_alone(x, outputs_of):
    """Of a dictionary of norm 1, the change of the squared error without a latent says the same."""
    _, state, outputs = outputs_of(replace(TOP, tied=True), x)
    decoder = np.float64(state.params["decoder"])
    z, error = np.float64(outputs["z"]), np.float64(outputs["error"])
    without = error[:, None] + z[:, :, None] * decoder  # [B, W, D]
    gain = np.square(without).sum(2) - np.square(error).sum(1)[:, None]
    scale = np.where(z > 0, 2 * z, 1.0)
    alone = gain / scale + z * np.square(decoder).sum(1) / 2  # (x - recon).d + z |d|^2
    threshold = float(np.median(alone[z > 0]))
    pruned = replace(TOP, tied=True, prune=threshold).build((DIM,))
    want = np.where((alone > threshold) & (z > 0), z, 0)
    np.testing.assert_allclose(pruned.features(state.variables, x), want, rtol=1e-5)
    columns = {"mutable": ["latents"]}
    trained, _ = pruned.apply(state.variables, x, **columns)
    np.testing.assert_allclose(trained["z"], z, rtol=1e-5)  # not while training


def test_prefixes_alone_must_reconstruct(x, outputs_of):
    spec = replace(TOP, prefixes=(2, 6, 12))
    ae, state, outputs = outputs_of(spec, x)
    z, decoder = np.float64(outputs["z"]), np.float64(state.params["decoder"])
    bias = np.float64(state.params["bias"])
    errors = [np.float64(x) - z[:, :n] @ decoder[:n] - bias for n in spec.prefixes]
    want = np.mean([np.square(error).sum(1) for error in errors], axis=0)
    got = ae.objective["error"].fn(outputs, {"x": x})
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_sampled_prefixes_are_drawn_in_training_only(x, outputs_of):
    ae, state, outputs = outputs_of(replace(TOP, sampled_prefixes=3), x)
    np.testing.assert_allclose(outputs["prefix_errors"], outputs["error"][None], rtol=1e-5)
    drawn = ae.outputs(state.variables, {"x": x}, rngs={"latent": jax.random.key(0)})
    assert drawn["prefix_errors"].shape == (4, *x.shape)
    np.testing.assert_allclose(drawn["prefix_errors"][-1], outputs["error"], rtol=1e-5)


def test_dead_latents_reconstruct_the_residual_without_the_bias(x, outputs_of):
    """Of the whole dictionary, those with the largest pre-activations."""
    age = jnp.where(jnp.arange(12) % 3 == 1, 7, 0)
    spec = replace(TOP, dead_weight=1 / 32, dead_after=7, dead_k=2)
    _, state, outputs = outputs_of(spec, x, age)
    p = {name: np.float64(leaf) for name, leaf in state.params.items()}
    pre = np.maximum((np.float64(x) - p["bias"]) @ p["encoder"].T + p["encoder_bias"], 0)
    pre[:, np.asarray(age) == 0] = 0
    z = np.where(pre >= np.sort(pre, axis=1)[:, -2][:, None], pre, 0)
    want = np.float64(outputs["error"]) - z @ p["decoder"]
    np.testing.assert_allclose(outputs["dead_error"], want, rtol=1e-4, atol=1e-5)


def test_the_error_of_dead_latents_trains_only_them(x, outputs_of):
    age = jnp.where(jnp.arange(12) < 4, 7, 0)
    spec = replace(TOP, dead_weight=1.0, dead_after=7)
    ae, state, _ = outputs_of(spec, x, age)

    def dead_error(params):
        outputs = ae.outputs({**state.variables, "params": params}, {"x": x})
        return ae.objective["dead_error"].fn(outputs, {}).sum()

    gradient = jax.grad(dead_error)(state.params)
    assert not np.any(gradient["decoder"][4:]) and not np.any(gradient["encoder"][4:])
    assert np.any(gradient["decoder"][:4])


def test_without_dead_latents_their_error_is_zero(x, outputs_of):
    _, _, outputs = outputs_of(replace(TOP, dead_weight=1.0), x)
    assert not np.any(outputs["dead_error"])


def test_ages_count_updates_and_ignore_padding(x, numpy_state):
    ae = TOP.build((DIM,))
    step = jax.jit(make_train_step(ae, optax.sgd(0.0)))
    mask = jnp.array([1.0] * 2 + [0.0] * 7)
    state, batch = numpy_state(ae, optax.sgd(0.0)), {"x": x, "mask": mask}
    for _ in range(2):
        state, metrics = step(state, batch)
    z = np.asarray(ae.encode(state.variables, x[:2]))
    fired = (z != 0).any(0)
    assert 0 < fired.sum() < 12
    np.testing.assert_array_equal(state.model_state["latents"]["age"], np.where(fired, 0, 2))
    assert metrics["dead"] == 0 and metrics["l0"] == (z != 0).sum() / 2


def test_rows_of_the_decoder_keep_norm_1(x):
    state, _ = fit(TOP.build((DIM,)), x, steps=5, optimizer=0.1)
    np.testing.assert_allclose(np.linalg.norm(state.params["decoder"], axis=1), 1, rtol=1e-5)


def test_adam_does_not_see_the_gradient_along_a_row():
    rows = jnp.float32([[1.0, 0.0], [0.6, 0.8]])
    grads = {"decoder": jnp.float32([[5.0, 2.0], [0.6, 0.8]]), "bias": jnp.ones(2)}
    tx = unit_rows(optax.trace(decay=0.0))
    params = {"decoder": rows, "bias": jnp.zeros(2)}
    _, state = tx.update(grads, tx.init(params), params)
    (seen,) = [leaf for path, leaf in by_path(state).items() if path.endswith("decoder")]
    np.testing.assert_allclose(seen, [[0.0, 2.0], [0.0, 0.0]], atol=1e-6)


def test_the_geometric_median_has_the_smallest_sum_of_distances():
    rng = np.random.default_rng(0)
    points = rng.standard_t(2, size=(40, 3)).astype(np.float32)
    points[:5] = points[0]  # rows at one place

    def total(m):
        return np.linalg.norm(points - m, axis=1).sum()

    best = minimize(total, points.mean(0), method="Nelder-Mead", options={"xatol": 1e-7}).x
    assert total(np.asarray(geometric_median(jnp.array(points)))) <= total(best) * (1 + 1e-5)
    middle = jnp.float32([[0.0], [1.0], [10.0]])  # a row is the median
    np.testing.assert_allclose(geometric_median(middle), [1.0], atol=1e-2)


def test_a_dictionary_starts_from_examples():
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, size=(50, DIM)).astype(np.float32)
    spec = replace(TOP, start="data", center="mean", normalize=True)
    state, _ = fit(spec.build((DIM,)), x, steps=1, optimizer=0.0)
    scale = np.sqrt(np.square(np.float64(x)).mean())
    np.testing.assert_allclose(state.model_state["statistics"]["x_scale"], scale, rtol=1e-5)
    np.testing.assert_allclose(state.params["bias"], x.mean(0) / scale, rtol=1e-4)
    directions = x - x.mean(0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    agreement = np.asarray(state.params["decoder"]) @ directions.T
    np.testing.assert_allclose(agreement.max(1), 1, rtol=1e-5)
    np.testing.assert_allclose(state.params["decoder"], state.params["encoder"], atol=1e-6)


def test_latents_beyond_the_examples_start_at_random():
    """Two equal latents would get equal gradients, and never differ."""
    x = np.float32(np.random.default_rng(0).normal(size=(5, DIM)))
    state, _ = fit(replace(TOP, start="data").build((DIM,)), x, steps=1, optimizer=0.0)
    rows = np.asarray(state.params["decoder"])
    assert np.unique(np.round(rows, 4), axis=0).shape == rows.shape


def test_norms_are_penalized_too(x, outputs_of):
    """Otherwise activations would shrink, and norms grow, without end."""
    spec = replace(TOP, sparsifier=L1Sparsifier(weight=1.0), unit_norm=False)
    ae, state, outputs = outputs_of(spec, x)

    def penalty(params):
        outputs = ae.outputs({**state.variables, "params": params}, {"x": x})
        return outputs["penalty"].sum()

    of_decoder = jax.grad(penalty)(state.params)["decoder"]
    decoder = np.float64(state.params["decoder"])
    norms = np.linalg.norm(decoder, axis=1, keepdims=True)
    want = np.float64(outputs["z"]).sum(0)[:, None] * decoder / norms
    np.testing.assert_allclose(of_decoder, want, rtol=1e-4, atol=1e-6)


def test_a_refined_code_tunes_its_coefficient_once(x, numpy_state):
    changes = []
    for refine in (0, 2):
        sparsifier = L1Sparsifier(target_l0=1.0, tuning_rate=0.01)
        ae = replace(TOP, sparsifier=sparsifier, refine=refine).build((DIM,))
        state, _ = make_train_step(ae, optax.sgd(0.0))(numpy_state(ae, optax.sgd(0.0)), {"x": x})
        changes.append(
            float(state.model_state["latents"]["sparsifier"]["coefficient"]["log_factor"])
        )
    assert 0 < changes[1] <= 0.01 and 0 < changes[0] <= 0.01


def test_bfloat16_with_a_scale_trains(x, numpy_state):
    for sparsifier, tied in ((TopK(active=3), False), (MatchingPursuit(active=2), True)):
        spec = replace(TOP, sparsifier=sparsifier, tied=tied, normalize=True)
        ae = replace(spec.build((DIM,)), dtype=jnp.bfloat16)
        state = numpy_state(ae, optax.sgd(0.1))
        ones = jax.tree.map(jnp.ones_like, state.model_state["statistics"])
        state = state.replace(model_state={**state.model_state, "statistics": ones})
        _, metrics = make_train_step(ae, optax.sgd(0.1))(state, {"x": x})
        assert np.isfinite(metrics["loss"])


def test_given_parameters_replace_a_start_from_examples(x):
    ae = replace(TOP, center="mean", normalize=True).build((DIM,))
    state, _ = fit(ae, x, steps=1, optimizer=0.0)
    params = jax.tree.map(lambda leaf: leaf + 1, state.params)
    again, _ = fit(ae, x, steps=1, optimizer=optax.sgd(0.0), params=params)
    np.testing.assert_array_equal(again.params["bias"], params["bias"])
    assert again.model_state["statistics"]["x_scale"] == state.model_state["statistics"]["x_scale"]


def test_a_transcoder_starts_from_its_target():
    rng = np.random.default_rng(0)
    columns = {
        "x": jnp.float32(rng.normal(size=(8, 4))),
        "target": jnp.float32(rng.normal(size=(8, 3))),
    }
    spec = Dictionary(width=6, sparsifier=TopK(active=2), target_dim=3, center="mean", start="data")
    ae = spec.build((4,))
    params = {"decoder": jnp.ones((6, 3)), "encoder": jnp.ones((6, 4))}
    params |= {"encoder_bias": jnp.ones(6), "bias": jnp.ones(3)}
    new = started(spec, {"params": params, "latents": {}}, columns, jax.random.key(0))["params"]
    np.testing.assert_allclose(new["bias"], columns["target"].mean(0), rtol=1e-5)
    assert new["encoder"].shape == (6, 4)
    np.testing.assert_allclose(np.linalg.norm(new["decoder"], axis=1), 1, rtol=1e-5)
    assert ae.target == "target"


def test_a_transcoder_with_a_skip_connection_learns_a_linear_map():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4)).astype(np.float32)
    data = {"x": x, "target": np.float32(x @ rng.normal(size=(4, 3)))}
    spec = Dictionary(width=6, sparsifier=TopK(active=1), target_dim=3, skip=True, normalize=True)
    ae = spec.build((4,))
    state = fit(ae, data, epochs=60, batch_size=50, optimizer=3e-2).state
    recon = ae.reconstruct(state.variables, x)
    assert np.square(recon - data["target"]).mean() < 1e-3 * np.square(data["target"]).mean()


def test_a_crosscoder_weighs_latents_by_the_sum_of_their_norms(outputs_of):
    x = jnp.float32(np.random.default_rng(0).normal(size=(4, 3, 2)))
    spec = Dictionary(width=8, sparsifier=L1Sparsifier(), sources=True, unit_norm=False)
    ae, state, outputs = outputs_of(spec, x)
    decoder = np.float64(state.params["decoder"]).reshape(8, 3, 2)
    norms = np.linalg.norm(decoder, axis=2).sum(1)
    np.testing.assert_allclose(outputs["penalty"], np.float64(outputs["z"]) @ norms, rtol=1e-5)
    assert ae.apply(state.variables, method="directions").shape == (8, 3, 2)


def test_the_gates_error_does_not_train_the_decoder(x, outputs_of):
    ae, state, _ = outputs_of(replace(TOP, sparsifier=Gated()), x)

    def gate_error(params):
        outputs = ae.outputs({**state.variables, "params": params}, {"x": x})
        return ae.objective["gate_error"].fn(outputs, {}).sum()

    gradient = jax.grad(gate_error)(state.params)
    assert not np.any(gradient["decoder"]) and np.any(gradient["encoder"])


def aged(spec, x, numpy_state, steps):
    """A state whose latents 0 to 3 are dead, after `steps` updates of Adam."""
    ae = spec.build((DIM,))
    tx = optax.adam(1e-2)
    state = numpy_state(ae, tx)
    state, _ = jax.jit(make_train_step(replace(ae, after_update=None), tx))(state, {"x": x})
    age = jnp.where(jnp.arange(12) < 4, spec.dead_after, 0)
    return state.replace(step=jnp.int32(steps), model_state={"latents": {"age": age}})


def test_dead_latents_are_resampled_and_adam_forgets_them(x, numpy_state):
    spec = replace(TOP, resample_every=10, dead_after=5)
    state = aged(spec, x, numpy_state, steps=9)
    new = resampled(spec, state, {"x": x}, jax.random.key(0), None)
    ae = spec.build((DIM,))
    error = np.array(ae.outputs(state.variables, {"x": x})["error"])
    error /= np.linalg.norm(error, axis=1, keepdims=True)
    decoder = np.asarray(new.params["decoder"])
    np.testing.assert_allclose((decoder[:4] @ error.T).max(1), 1, rtol=1e-5)
    norms = np.linalg.norm(state.params["encoder"], axis=1)[4:].mean()
    np.testing.assert_allclose(new.params["encoder"][:4], 0.2 * norms * decoder[:4], rtol=1e-5)
    for name in ("decoder", "encoder", "encoder_bias"):
        np.testing.assert_array_equal(new.params[name][4:], state.params[name][4:])
    for path, leaf in by_path(new.opt_state).items():
        old = by_path(state.opt_state)[path]
        if path.rsplit("/", 1)[-1] in ("decoder", "encoder", "encoder_bias"):
            assert not np.any(leaf[:4]) and np.any(old)
            np.testing.assert_array_equal(leaf[4:], old[4:])
        else:
            np.testing.assert_array_equal(leaf, old)
    assert new.model_state["latents"]["age"].tolist() == [0] * 12


def test_resampled_latents_take_new_thresholds(x, numpy_state):
    sparsifier = JumpReLU(threshold=0.01)
    spec = replace(TOP, sparsifier=sparsifier, resample_every=10, dead_after=5)
    state = aged(spec, x, numpy_state, steps=9)
    params = {**state.params, "sparsifier": {"log_threshold": jnp.full(12, 5.0)}}
    state = state.replace(params=params)
    new = resampled(spec, state, {"x": x}, jax.random.key(0), None)
    want = [np.log(0.01)] * 4 + [5.0] * 8
    np.testing.assert_allclose(new.params["sparsifier"]["log_threshold"], want, rtol=1e-5)
    for path, leaf in by_path(new.opt_state).items():
        if path.endswith("log_threshold"):
            assert not np.any(leaf[:4])


@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_devices_resample_alike(how, numpy_state):
    x = jnp.float32(np.random.default_rng(1).normal(size=(8, DIM)))
    spec = replace(TOP, resample_every=10, dead_after=5)
    state = aged(spec, x, numpy_state, steps=9)
    key = jax.random.key(0)
    want = jax.jit(lambda s, x: resampled(spec, s, {"x": x}, key, None))(state, x)

    def one(state, x):
        return resampled(spec, state, {"x": x}, key, "i").params

    if how == "pmap":
        mapped = jax.pmap(one, axis_name="i", in_axes=(None, 0), out_axes=None)
        got = mapped(state, x.reshape(4, 2, DIM))
    else:
        auto = (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((4,), ("i",), auto, devices=jax.devices()[:4])
        spec_of = jax.sharding.PartitionSpec
        got = jax.jit(
            jax.shard_map(one, mesh=mesh, in_specs=(spec_of(), spec_of("i")), out_specs=spec_of())
        )(state, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, want.params)


def test_latents_are_resampled_when_due_only(x, numpy_state):
    spec = replace(TOP, resample_every=10, dead_after=5)
    state = aged(spec, x, numpy_state, steps=8)
    new = resampled(spec, state, {"x": x}, jax.random.key(0), None)
    jax.tree.map(np.testing.assert_array_equal, new.params, state.params)


def test_padding_is_never_resampled(x, numpy_state):
    spec = replace(TOP, resample_every=10, dead_after=5)
    state = aged(spec, x, numpy_state, steps=9)
    mask = jnp.zeros(9).at[0].set(1.0)
    new = resampled(spec, state, {"x": x, "mask": mask}, jax.random.key(0), None)
    error = np.array(spec.build((DIM,)).outputs(state.variables, {"x": x})["error"][0])
    error /= np.linalg.norm(error)
    np.testing.assert_allclose(new.params["decoder"][:4], [error] * 4, rtol=1e-5)


FOLDED = {
    "batch-top-k": {"sparsifier": BatchTopK(active=2), "normalize": True},
    "weighed": {"sparsifier": BatchTopK(active=2), "normalize": True, "unit_norm": False},
    "top-k": {"normalize": True},
    "jump-relu": {"sparsifier": JumpReLU(threshold=0.1), "normalize": True},
    "gated": {"sparsifier": Gated(target_l0=2.0), "normalize": True},
    "tied": {"sparsifier": MatchingPursuit(active=2), "normalize": True, "tied": True},
    "transcoder": {"normalize": True, "target_dim": 3, "skip": True},
    "pruned": {"sparsifier": BatchTopK(active=2), "normalize": True, "prune": 0.2},
    "refined": {"normalize": True, "refine": 1},
    "crosscoder": {"sparsifier": BatchTopK(active=2), "normalize": True, "sources": True},
}


@pytest.mark.parametrize("name", FOLDED)
def test_an_exported_dictionary_is_the_same_function(name, numpy_state):
    rng = np.random.default_rng(0)
    shape = (DIM, 2) if name == "crosscoder" else (DIM,)
    x = jnp.float32(rng.normal(3.0, 2.0, size=(9, *shape)))
    ae = replace(TOP, **FOLDED[name]).build(shape)
    state = numpy_state(ae, optax.sgd(0.1))
    # Thresholds, scales and other state that a run could have learned.
    model_state = jax.tree.map(
        lambda leaf: leaf + 2 if leaf.dtype == jnp.int32 else leaf + 0.3, state.model_state
    )
    variables = {"params": state.params, **model_state}
    folded, new = ae.exported(variables)
    assert not folded.spec.normalize and "statistics" not in new
    assert not isinstance(folded.spec.sparsifier, BatchTopK)
    np.testing.assert_allclose(
        folded.reconstruct(new, x), ae.reconstruct(variables, x), rtol=1e-4, atol=1e-4
    )
    fires = ae.features(variables, x) != 0
    assert 0 < fires.mean() < 1
    np.testing.assert_array_equal(folded.features(new, x) != 0, fires)
    shapes = jax.tree.map(jnp.shape, numpy_state(folded, optax.sgd(0.1)).variables)
    assert jax.tree.map(jnp.shape, new) == shapes


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: replace(TOP, width=2), "width=2: must be at least 3, the active latents of TopK"),
        (lambda: replace(TOP, prefixes=(2, 6)), "must end at the width, 12"),
        (lambda: replace(TOP, prefixes=(6, 2, 12)), "must increase"),
        (lambda: replace(TOP, prefixes=(2, 12), sampled_prefixes=1), "sampled_prefixes=1"),
        (lambda: replace(TOP, target_dim=0), "target_dim=0"),
        (lambda: replace(TOP, skip=True), "give target_dim"),
        (lambda: replace(TOP, target_dim=3, sources=True), "sources=True"),
        (lambda: replace(TOP, target_dim=3, tied=True), "tied=True"),
        (lambda: replace(TOP, target_dim=3, refine=1), "refine=1"),
        (lambda: replace(TOP, target_dim=3, prune=0.1), "prune=0.1"),
        (lambda: replace(TOP, sparsifier=Gated(), refine=1), "Gated codes cannot be refined"),
        (
            lambda: replace(TOP, sparsifier=BatchTopK(active=2), refine=1),
            "BatchTopK codes cannot be refined",
        ),
        (lambda: replace(TOP, dead_after=0), "dead_after=0"),
        (lambda: replace(TOP, dead_weight=-1.0), "dead_weight=-1.0"),
        (lambda: replace(TOP, sparsifier=MatchingPursuit(active=2)), "tied=False"),
        (
            lambda: replace(TOP, sparsifier=MatchingPursuit(active=2), tied=True, unit_norm=False),
            "unit_norm=False",
        ),
        (lambda: replace(TOP, sources=True).build((4,)), r"sources are \[sources, D\]"),
    ],
)
def test_bad_options_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_data_that_cannot_work_is_refused():
    spec = Dictionary(width=6, sparsifier=BatchTopK(active=2), target_dim=3)
    x = np.ones((8, 4), np.float32)
    with pytest.raises(ValueError, match="x has no variance"):
        fit(TOP.build((4,)), x, steps=1)
    with pytest.raises(ValueError, match="target"):
        fit(spec.build((4,)), {"x": np.eye(8, 4, dtype=np.float32)}, steps=1)
