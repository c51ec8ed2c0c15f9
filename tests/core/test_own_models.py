"""The models of `tests.core.models` against their mathematics: right values, step by step."""

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.core import Autoencoder, BatchTerm, Player, Term, by_path, compute_loss, init_state
from ae_jax.core.players import player_labels
from ae_jax.losses import mse
from ae_jax.training import make_train_step
from tests.core.models import (
    CASES,
    Codebook,
    adversarial,
    dictionary,
    examples,
    spread_rows,
    vq,
)

pytestmark = pytest.mark.usefixtures("compiled_once")
STILL = optax.sgd(0.0)
BLOBS = np.array([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0], [0.0, -5.0], [5.0, 5.0]])


class Bare(nn.Module):
    """A codebook alone: its latents are the examples."""

    def setup(self):
        self.codebook = Codebook(5, 2)
        self.scale = self.param("scale", nn.initializers.ones, ())

    def __call__(self, x, mask=None, axis_name=None):
        code, index = self.codebook(x, mask, axis_name)
        return {"recon": self.scale * code, "index": index}


BARE = Autoencoder(
    Bare(),
    {"mse": Term(lambda o, b: mse(o["recon"], b["x"]))},
    (2,),
    columns={"mask": (), "axis_name": ()},
)
MOVE = jax.jit(make_train_step(BARE, STILL))


def start(ae, tx):
    return jax.jit(lambda: init_state(ae, tx, jax.random.key(0)))()


def rows_near(centers, count=24, seed=0):
    rng = np.random.default_rng(seed)
    label = np.concatenate([np.arange(len(centers)), rng.integers(0, len(centers), count)])
    return np.float32(centers[label] + 0.1 * rng.normal(size=(len(label), 2))), label


def codebook(state):
    return {name: np.asarray(a) for name, a in state.model_state["codebook"]["codebook"].items()}


def with_codebook(state, **arrays):
    own = state.model_state["codebook"]["codebook"] | {k: jnp.asarray(a) for k, a in arrays.items()}
    return state.replace(model_state={"codebook": {"codebook": own}})


class TestCodebook:
    def test_the_first_batch_starts_it_by_its_clusters(self):
        """k-means of separate clusters: their means. One step later, moving averages of them."""
        x, label = rows_near(BLOBS)
        state, _ = MOVE(start(BARE, STILL), {"x": x})
        means = np.stack([x[label == i].mean(0) for i in range(5)])
        got = codebook(state)
        assert got["started"] and not got["idle"].any()
        order = [int(np.argmin(((got["vectors"] - m) ** 2).sum(1))) for m in means]
        assert sorted(order) == list(range(5))
        counts = np.bincount(label, minlength=5)
        np.testing.assert_allclose(got["counts"][order], 0.9 + 0.1 * counts, rtol=1e-5)
        np.testing.assert_allclose(got["vectors"][order], means, rtol=1e-4, atol=1e-5)

    def test_it_is_the_moving_average_written_out(self):
        state = start(BARE, STILL)
        state, _ = MOVE(state, {"x": rows_near(BLOBS)[0]})
        for seed in (1, 2, 3):
            x, _ = rows_near(BLOBS + 0.3 * seed, seed=seed)
            old = codebook(state)
            index = ((x[:, None] - old["vectors"][None]) ** 2).sum(-1).argmin(1)
            chosen = np.eye(5)[index]
            counts = 0.9 * old["counts"] + 0.1 * chosen.sum(0)
            sums = 0.9 * old["sums"] + 0.1 * chosen.T @ x
            state, metrics = MOVE(state, {"x": x})
            got = codebook(state)
            np.testing.assert_allclose(got["counts"], counts, rtol=1e-5)
            np.testing.assert_allclose(got["vectors"], sums / counts[:, None], rtol=1e-4, atol=1e-5)
            error = ((x - old["vectors"][index]) ** 2).sum(1).mean()
            np.testing.assert_allclose(metrics["mse"], error, rtol=1e-4)

    def test_a_dead_code_moves_to_the_worst_row_with_its_sums_and_counts(self):
        """Or else the stale average would take it back in the next step."""
        x, _ = rows_near(BLOBS)
        state, _ = MOVE(start(BARE, STILL), {"x": x})
        old = codebook(state)
        vectors, sums = old["vectors"].copy(), old["sums"].copy()
        vectors[2], sums[2] = 100.0, 100.0 * old["counts"][2]
        state = with_codebook(state, vectors=vectors, sums=sums)
        first, _ = MOVE(state, {"x": x})
        assert codebook(first)["idle"].tolist() == [0, 0, 1, 0, 0]
        np.testing.assert_allclose(codebook(first)["vectors"][2], 100.0, rtol=1e-5)
        left = codebook(first)["vectors"]
        worst = x[((x[:, None] - left[None]) ** 2).sum(-1).min(1).argmax()]
        second, _ = MOVE(first, {"x": x})
        got = codebook(second)
        assert got["idle"].tolist() == [0] * 5 and got["counts"][2] == 1.0
        np.testing.assert_array_equal(got["vectors"][2], worst)
        np.testing.assert_array_equal(got["sums"][2], worst)
        third, _ = MOVE(second, {"x": x})
        assert np.linalg.norm(codebook(third)["vectors"][2] - worst) < 1.0

    @pytest.mark.parametrize("steps", [1, 2, 3])
    def test_padded_rows_count_for_nothing(self, steps):
        x, _ = rows_near(BLOBS)
        far = np.concatenate([x, np.full((3, 2), 1e3, np.float32)])
        mask = np.float32([1] * len(x) + [0] * 3)
        cut = padded = start(BARE, STILL)
        for _ in range(steps):
            cut, metrics = MOVE(cut, {"x": x})
            padded, again = MOVE(padded, {"x": far, "mask": mask})
        for name, array in codebook(cut).items():
            np.testing.assert_allclose(codebook(padded)[name], array, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(again["mse"], metrics["mse"], rtol=1e-5)

    def test_evaluation_moves_nothing(self):
        state = start(BARE, STILL)
        x = rows_near(BLOBS)[0]
        state, _ = MOVE(state, {"x": x})
        outputs = BARE.outputs(state.variables, {"x": x})
        distance = ((x[:, None] - codebook(state)["vectors"][None]) ** 2).sum(-1)
        np.testing.assert_array_equal(outputs["index"], distance.argmin(1))

    def test_rows_are_spread(self):
        x, label = rows_near(BLOBS)
        chosen = np.asarray(spread_rows(jnp.asarray(x), jnp.ones(len(x)), 5))
        assert sorted(label[(x == row).all(1).argmax()] for row in chosen) == list(range(5))

    def test_the_commitment_is_the_encoders_alone(self):
        """The gradient of the straight-through estimator, written out for a linear encoder."""
        ae, x = vq(), np.float64(examples(CASES["vq"], 16)["x"])
        step = jax.jit(make_train_step(ae, optax.sgd(0.1)))
        state, _ = step(start(ae, optax.sgd(0.1)), {"x": jnp.float32(x)})
        moved, _ = step(state, {"x": jnp.float32(x)})
        assert set(state.params) == {"encoder", "decoder"}
        p = jax.tree.map(np.float64, state.params)
        z = x @ p["encoder"]["kernel"] + p["encoder"]["bias"]
        vectors = np.float64(state.model_state["codebook"]["codebook"]["vectors"])
        code = vectors[((z[:, None] - vectors[None]) ** 2).sum(-1).argmin(1)]
        error = 2 * (code @ p["decoder"]["kernel"] + p["decoder"]["bias"] - x) / len(x)
        dz = error @ p["decoder"]["kernel"].T + 0.25 * 2 * (z - code) / len(x)
        got = (p["encoder"]["kernel"] - np.float64(moved.params["encoder"]["kernel"])) / 0.1
        np.testing.assert_allclose(got, x.T @ dz, rtol=1e-3, atol=1e-4)


class TestPlayers:
    ae = adversarial()

    def test_each_descends_its_own_loss_in_its_own_parameters(self):
        """By its own optimizer: the critic's gradient is clipped before the run's."""
        rate = optax.sgd(0.1)
        batch = {"x": jnp.asarray(examples(CASES["two-player"])["x"])}
        state = start(self.ae, rate)
        moved, metrics = jax.jit(make_train_step(self.ae, rate))(state, batch)

        def loss(params, terms):
            outputs = self.ae.outputs({"params": params}, batch)
            return sum(
                weight * self.ae.objective[name].fn(outputs, batch).mean()
                for name, weight in terms.items()
            )

        main, critic = (
            jax.jit(jax.grad(partial(loss, terms=terms)))(state.params)
            for terms in ({"mse": 1.0, "fool": 0.1}, {"told": 1.0})
        )
        wanted = {name: critic[name] if name == "critic" else main[name] for name in main}
        wanted["critic"] = jax.tree.map(lambda g: jnp.clip(g, -0.5, 0.5), wanted["critic"])
        for path, grad in by_path(wanted).items():
            step = by_path(state.params)[path] - by_path(moved.params)[path]
            np.testing.assert_allclose(step, 0.1 * grad, rtol=1e-3, atol=1e-6, err_msg=path)
        np.testing.assert_allclose(
            metrics["loss"], metrics["mse"] + 0.1 * metrics["fool"], rtol=1e-6
        )
        np.testing.assert_allclose(metrics["critic_loss"], metrics["told"], rtol=1e-6)

    def test_a_metric_is_logged_and_moves_nothing(self):
        objective = {"mse": Term(lambda o, b: mse(o["recon"], b["x"]))}
        objective["size"] = BatchTerm(lambda o, b, axis_name: jnp.square(o["recon"]).sum(), None)

        def of(scale):
            x = jnp.ones((3, 2))
            return compute_loss(objective, {"recon": scale * x}, {"x": x})

        (loss, metrics), grad = jax.value_and_grad(of, has_aux=True)(3.0)
        assert (loss, metrics["size"], grad) == (8.0, 54.0, 8.0)

    @pytest.mark.parametrize(
        ("players", "message"),
        [
            ({"critic": Player(())}, "the player 'critic' has no parameters: name some in players"),
            (
                {"critic": Player(("judge",))},
                "the player 'critic' trains 'judge', which is no parameter of the module: it has "
                "encoder, decoder, critic|critic.*no parameter of the module",
            ),
            (
                {"critic": Player(("critic",)), "other": Player(("critic",))},
                "'critic' belongs to two players, 'critic' and 'other'",
            ),
        ],
    )
    def test_mistakes(self, players, message):
        objective = dict(self.ae.objective)
        if "other" in players:
            objective["more"] = objective["told"]._replace(player="other")
        ae = dataclasses.replace(self.ae, players=players, objective=objective)
        with pytest.raises(ValueError, match=message) as caught:
            start(ae, STILL)
        assert "\n" not in str(caught.value)

    def test_every_parameter_has_one_player(self):
        params = start(self.ae, STILL).params
        wanted = {"encoder": "", "decoder": "", "critic": "critic"}
        assert player_labels(self.ae.players, params) == wanted


ROWS = {"x": jnp.asarray(examples(CASES["dictionary"], 16)["x"])}


class TestAfterUpdate:
    ae = dictionary()
    adam = optax.adam(0.01)

    def test_rows_have_norm_one_and_dead_ones_start_again(self):
        state = start(self.ae, self.adam)
        # Units that never fire.
        bias = jnp.asarray([-1e3, 2.0, 2.0, -1e3, 2.0, 2.0])
        encoder = state.params["encoder"] | {"bias": bias}
        state = state.replace(params={**state.params, "encoder": encoder})
        step = jax.jit(make_train_step(self.ae, self.adam))
        state, _ = step(state, ROWS)
        assert state.model_state["usage"]["idle"].tolist()[::3] == [1, 1]
        before = state.params["atoms"]
        state, _ = step(state, ROWS)
        after, moments = state.params["atoms"], state.opt_state[0].mu["atoms"]
        np.testing.assert_allclose(jnp.linalg.norm(after, axis=1), 1.0, rtol=1e-5)
        assert state.model_state["usage"]["idle"].tolist()[::3] == [0, 0]
        moved = jnp.linalg.norm(after - before, axis=1)
        assert (moved[::3] > 0.1).all() and (moved[jnp.array([1, 2, 4, 5])] < 0.1).all()
        assert not moments[::3].any() and moments[1].any()

    def test_it_draws_anew_at_every_step_and_the_same_at_each_repetition(self):
        def drawn(state, batch, key, axis_name):
            return state.replace(params={**state.params, "atoms": jax.random.normal(key, (6, 6))})

        ae = dataclasses.replace(self.ae, after_update=drawn)
        step = jax.jit(make_train_step(ae, self.adam))
        state = start(ae, self.adam)
        first, _ = step(state, ROWS)
        again, _ = step(state, ROWS)
        second, _ = step(first, ROWS)
        np.testing.assert_array_equal(first.params["atoms"], again.params["atoms"])
        assert not np.allclose(first.params["atoms"], second.params["atoms"])

    def test_it_is_undone_where_it_is_not_finite(self):
        def spoil(state, batch, key, axis_name):
            spoilt = state.params["atoms"].at[2, 1].set(jnp.nan)
            return state.replace(params={**state.params, "atoms": spoilt})

        ae = dataclasses.replace(self.ae, after_update=spoil)
        state = start(ae, self.adam)
        step = jax.jit(make_train_step(ae, self.adam, guard=True))
        moved, metrics = step(state, ROWS)
        assert not metrics["finite"] and np.isfinite(metrics["loss"])
        jax.tree.map(np.testing.assert_array_equal, moved.params, state.params)
        jax.tree.map(np.testing.assert_array_equal, moved.opt_state, state.opt_state)
        jax.tree.map(np.testing.assert_array_equal, moved.model_state, state.model_state)

    @pytest.mark.parametrize(
        "change",
        [
            lambda state: state.replace(params={**state.params, "more": jnp.zeros(2)}),
            lambda state: state.replace(params={**state.params, "atoms": jnp.zeros((1, 6))}),
            lambda state: state.replace(
                model_state=jax.tree.map(lambda a: a.astype(float), state.model_state)
            ),
        ],
        ids=["structure", "shape", "dtype"],
    )
    def test_a_state_of_another_kind_is_one_line(self, change):
        ae = dataclasses.replace(self.ae, after_update=lambda state, *_: change(state))
        state = start(ae, self.adam)
        with pytest.raises(ValueError, match="after_update returned a state of another") as caught:
            jax.eval_shape(make_train_step(ae, self.adam), state, ROWS)
        assert "\n" not in str(caught.value)


def test_latents_of_several_levels_are_one_row_of_features():
    ae = CASES["two-level"].ae
    state = start(ae, STILL)
    x = examples(CASES["two-level"])["x"]
    z = ae.encode(state.variables, x)
    assert {name: level.shape for name, level in z.items()} == {"low": (22, 3), "high": (22, 2)}
    together = np.concatenate([z["high"], z["low"]], axis=1)
    np.testing.assert_array_equal(ae.features(state.variables, x), together)
    recon = ae.decode(state.variables, jax.tree.map(np.asarray, z))
    np.testing.assert_allclose(recon, ae.reconstruct(state.variables, x), rtol=1e-6)


def test_indices_are_latents_and_codes_the_features():
    ae = CASES["vq"].ae
    x = examples(CASES["vq"])["x"]
    state, _ = jax.jit(make_train_step(ae, STILL))(start(ae, STILL), {"x": x})
    z = ae.encode(state.variables, x)
    assert z.shape == (22,) and z.dtype == jnp.int32
    vectors = state.model_state["codebook"]["codebook"]["vectors"]
    np.testing.assert_array_equal(ae.features(state.variables, x), vectors[z])


def test_a_label_changes_both_halves_of_a_conditional_model():
    ae = CASES["conditional"].ae
    state = start(ae, STILL)
    x = examples(CASES["conditional"], 4)["x"]
    labels = [np.full(4, label, np.int32) for label in (0, 1)]
    a, b = (ae.encode(state.variables, x, label=label) for label in labels)
    np.testing.assert_allclose(
        b - a,
        np.tile(np.diff(state.params["encoder"]["kernel"][6:8], axis=0), (4, 1)),
        rtol=1e-4,
        atol=1e-6,
    )
    assert not np.allclose(*(ae.decode(state.variables, a, label=label) for label in labels))


def test_the_step_reaches_the_module_in_training_and_evaluation():
    ae = CASES["conditional"].ae
    data = examples(CASES["conditional"], 4)
    state = start(ae, STILL)
    z = [ae.outputs(state.variables, data, step=step)["z"] for step in (0, 3, 5, 9)]
    for got, scale in zip(z, (0.5, 0.8, 1.0, 1.0), strict=True):
        np.testing.assert_allclose(got, scale * z[-1], rtol=1e-5)
