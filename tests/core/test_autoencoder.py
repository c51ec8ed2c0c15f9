"""What an autoencoder refuses: one line that names the value and the remedy."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax import load_run
from ae_jax.core import Autoencoder, BatchTerm, Player, Term, init_state
from ae_jax.models import Vanilla, with_models
from ae_jax.spec import Spec
from ae_jax.training import fit, sweep
from tests.core.models import CASES, examples, squared_error

pytestmark = pytest.mark.usefixtures("compiled_once")
X = np.float32(np.random.default_rng(0).normal(size=(12, 6)))


class Decoder(nn.Module):
    """A module without an encoder."""

    @nn.compact
    def __call__(self, x):
        return {"recon": nn.Dense(6)(x)}


def of(objective, **options):
    return Autoencoder(Decoder(), objective, (6,), **options)


PLAIN = of({"mse": Term(squared_error)})


def one_line(call, message, kind=ValueError):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            Term(lambda o, b: o["recon"]),
            r"term 'bad' returned shape \(4, 6\); it must be \[4\], one value per example",
        ),
        (
            Term(lambda o, b: o["recon"].mean()),
            r"term 'bad' returned shape \(\); it must be \[4\], one value per example",
        ),
        (
            BatchTerm(lambda o, b, axis_name: o["recon"].mean(1)),
            r"term 'bad' returned shape \(4,\); it must be \[\], a statistic of the batch",
        ),
        (
            Term(lambda o, b: o["mean"].sum(1)),
            r"the term 'bad' reads 'mean', which neither the module's outputs \(recon\) nor the "
            r"data \(.*x\) have",
        ),
        (Term(lambda o, b: b["weight"]), "the term 'bad' reads 'weight', which neither"),
    ],
)
@pytest.mark.parametrize("train", [fit, sweep])
def test_terms(tmp_path, train, term, message):
    ae = of({"mse": Term(squared_error), "bad": term})
    if train is fit:
        one_line(lambda: fit(ae, X, steps=1, batch_size=4, run_dir=tmp_path / "run"), message)
        assert not (tmp_path / "run").exists()
    else:
        one_line(lambda: sweep(lambda: ae, {}, [0], X, epochs=1, batch_size=4), message)


def test_a_module_without_encode_trains_and_says_what_it_lacks():
    state, _ = fit(PLAIN, X, steps=1, batch_size=4)
    message = "the module Decoder has no method '{}': define it to use this"
    one_line(lambda: PLAIN.encode(state.variables, X), message.format("encode"))
    one_line(lambda: PLAIN.decode(state.variables, X), message.format("decode"))
    one_line(lambda: PLAIN.features(state.variables, X), message.format("encode"))


def test_a_module_without_encode_is_not_exported(tmp_path):
    from ae_jax import export

    fit(PLAIN, X, steps=1, batch_size=4, run_dir=tmp_path / "run")
    call = lambda: export(tmp_path / "run", tmp_path / "model", ae=PLAIN)  # noqa: E731
    one_line(call, "the module Decoder has no method 'encode'")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("train", [fit, sweep])
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("conditional", {"label": None}, "train: the model reads 'label', which the data lacks"),
        ("transcoder", {"y": None}, "train: the model reads 'y', which the data lacks: it has "),
        ("transcoder", {"y": np.zeros((22, 8))}, r"y has shape \[22, 8\]; .* for \[N, 4, 2\]"),
        ("transcoder", {"y": np.zeros((21, 4, 2))}, r"y has shape \[21, 4, 2\] but x has 22 rows"),
        ("transcoder", {"y": np.full((22, 4, 2), np.nan)}, "176 of the 176 values of y are NaN"),
        ("transcoder", {"y": np.full((22, 4, 2), "a")}, "train: y has dtype <U1"),
        ("transcoder", {"step": np.zeros(22)}, "train: data has the key 'step': rename it"),
    ],
)  # fmt: skip
def test_columns(train, name, change, message):
    case = CASES[name]
    data = {k: v for k, v in {**examples(case), **change}.items() if v is not None}
    kind = (ValueError, TypeError)
    if train is fit:
        one_line(lambda: fit(case.ae, data, steps=1, batch_size=4), message, kind)
    else:
        one_line(
            lambda: sweep(lambda: case.ae, {}, [0], data, epochs=1, batch_size=4), message, kind
        )


def test_columns_of_the_evaluation_are_checked_too():
    case = CASES["conditional"]
    call = lambda: fit(case.ae, examples(case), steps=1, batch_size=4, eval_data=X)  # noqa: E731
    one_line(call, "eval_data: the model reads 'label', which the data lacks")


def test_a_batch_without_a_column_is_one_line():
    case = CASES["conditional"]
    state = init_state(case.ae, optax.sgd(0.1), jax.random.key(0))
    call = lambda: case.ae.outputs(state.variables, {"x": X})  # noqa: E731
    one_line(call, r"the model reads 'label', which the data lacks: it has \['x'\]")


def test_given_columns():
    case = CASES["conditional"]
    state = init_state(case.ae, optax.sgd(0.1), jax.random.key(0))
    v, label = state.variables, np.zeros(12, np.int32)
    one_line(lambda: case.ae.encode(v, X), "the model reads 'label', which is missing: give label=")
    one_line(lambda: case.ae.decode(v, np.zeros((12, 2))), "give label=")
    one_line(lambda: case.ae.reconstruct(v, X), "give label=")
    call = lambda: case.ae.encode(v, X, label=label, mask=label)  # noqa: E731
    one_line(call, "mask=: encode and decode of this model take label")
    plain = CASES["two-player"].ae
    v = init_state(plain, optax.sgd(0.1), jax.random.key(0)).variables
    one_line(lambda: plain.encode(v, X, label=label), "label=: .* of this model take no columns")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"objective": {"mse": Term(squared_error, 1.0, "critic")}},
            "term 'mse' names the player 'critic', which players lacks: it has none",
        ),
        (
            {"players": {"critic": Player(("Dense_0",))}},
            "the player 'critic' has no term: name it in one, or remove it",
        ),
        ({"given": ("label",)}, "given='label': name it in columns too, with its shape"),
        ({"target": "y"}, "target='y': name it in columns too, with its shape"),
    ],
)
def test_what_does_not_belong_together(options, message):
    one_line(lambda: dataclasses.replace(PLAIN, **options), message)


def test_a_run_of_a_hand_made_model_needs_it(tmp_path):
    case = CASES["two-player"]
    fit(case.ae, examples(case), steps=1, batch_size=4, run_dir=tmp_path / "run")
    one_line(
        lambda: load_run(tmp_path / "run"),
        "names no model, .* by hand: build it again and pass it as ae=",
    )
    other = dataclasses.replace(case.ae, event_shape=(7,))
    one_line(lambda: load_run(tmp_path / "run", ae=other), r"must be \[7\], the event_shape of ae")
    one_line(lambda: load_run(tmp_path / "run", ae=PLAIN), "only the (model|checkpoint) has ")


def test_registering():
    @dataclasses.dataclass(frozen=True)
    class Mine(Spec):
        kind = "vanilla"

        def build(self, event_shape):
            return PLAIN

    one_line(lambda: with_models(Mine), "Mine.kind='vanilla': is taken: choose another name")
    Mine.kind = ""
    one_line(lambda: with_models(Mine), "Mine.kind='': give it a name for files to use")
    Mine.kind = "mine"
    assert Mine in with_models(Mine).__args__ and Vanilla in with_models(Mine).__args__
    one_line(lambda: with_models(Mine, Mine), "Mine.kind='mine': is taken")
    one_line(lambda: with_models(PLAIN), "must be a class, a subclass of", TypeError)
    del Mine.build
    one_line(lambda: with_models(Mine), r"needs a method build\(event_shape\)")


def test_params_and_model_state_of_another_model_are_one_line():
    case = CASES["batch-norm"]
    good = init_state(case.ae, optax.sgd(0.1), jax.random.key(0))
    data = examples(case)

    def start(**given):
        return lambda: fit(case.ae, data, steps=1, batch_size=4, **given)

    one_line(start(model_state={}), "model_state: batch_stats/norm/mean is missing")
    stats = jax.tree.map(lambda a: jnp.zeros(3), good.model_state)
    one_line(start(model_state=stats), r"model_state: batch_stats/norm/mean has shape \(3,\)")
    extra = {**good.params, "more": jnp.zeros(2)}
    one_line(start(params=extra), "params: more is not in the model")
