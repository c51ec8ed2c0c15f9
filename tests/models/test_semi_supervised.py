"""M2: exact sums over unknown classes, against sums written out, and its checks."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.core import compute_loss, init_state
from ae_jax.evaluation.anomaly import model_scores
from ae_jax.evaluation.likelihood import elbo, log_likelihood
from ae_jax.likelihoods import Bernoulli, Error, GaussianLikelihood
from ae_jax.models import SemiSupervised
from ae_jax.networks import MLP
from ae_jax.training import fit, make_train_step

SHAPE, CLASSES = (4, 3), 3
RNG = np.random.default_rng(0)
X = np.float32(RNG.uniform(size=(7, *SHAPE)) < 0.5)
LABEL = np.int32([0, -1, 2, -1, 1, -1, -1])
DATA = {"x": X, "label": LABEL}


def spec(**options):
    small = {"network": MLP(widths=(9,), activation="tanh"), "latent_dim": 2, "joint": 5}
    return SemiSupervised(**{**small, "classes": CLASSES, **options})


@cache
def made(**options):
    ae = spec(**options).build(SHAPE)
    return ae, init_state(ae, optax.identity(), jax.random.key(0)).variables


def with_wide_posterior(variables):
    """Whose weights have no heavy tails: estimates are exact after few draws."""
    params = variables["params"]
    logvar = jax.tree.map(jnp.zeros_like, params["bottleneck"]["logvar"])
    return {"params": {**params, "bottleneck": {**params["bottleneck"], "logvar": logvar}}}


def logsumexp(a, axis):
    return np.logaddexp.reduce(np.float64(a), axis=axis)


@cache
def by_hand():
    """``-L(x, y)`` of every example and class with z = mean, and ``log q(y | x)``, class by class
    with the layers' parameters."""
    _, variables = made()
    p = jax.tree.map(np.float64, variables["params"])

    def dense(layer, h):
        return h @ layer["kernel"] + layer.get("bias", 0.0)

    x = np.float64(X).reshape(7, -1)
    log_q = dense(p["class_logits"], np.tanh(dense(p["classifier"]["Dense_0"], x)))
    log_q -= logsumexp(log_q, 1)[:, None]
    h, bounds = np.tanh(dense(p["encoder"]["Dense_0"], x)), []
    for y in range(CLASSES):
        both = np.concatenate([h, np.tile(np.eye(CLASSES)[y], (7, 1))], 1)
        kernel = np.concatenate([p["of_features"]["kernel"], p["of_class"]["kernel"]])
        joint = np.logaddexp(0, both @ kernel + p["of_features"]["bias"])
        mean, logvar = (dense(p["bottleneck"][name], joint) for name in ("mean", "logvar"))
        z = np.concatenate([np.tile(np.eye(CLASSES)[y], (7, 1)), mean], 1)
        layers = [p["decoder"][name] for name in ("Dense_0", "Dense_1")]
        logits = dense(layers[1], np.tanh(dense(layers[0], z)))
        nll = (np.logaddexp(0, logits) - x * logits).sum(1)
        kl = 0.5 * (np.exp(logvar) + mean**2 - 1 - logvar).sum(1)
        bounds.append(nll + kl + np.log(CLASSES))
    return np.stack(bounds, 1), log_q


def test_the_loss_is_the_sum_written_out():
    ae, variables = made(weight=3.0)
    outputs = ae.outputs(variables, DATA)
    each, log_q = by_hand()
    q = np.exp(log_q)
    unlabeled = (q * each).sum(1) + (q * log_q).sum(1)  # U(x): L, less the entropy of q
    known = LABEL >= 0
    want = np.where(known, each[np.arange(7), LABEL], unlabeled)
    np.testing.assert_allclose(ae.objective["bound"].fn(outputs, DATA), want, rtol=1e-5)
    nll, kl = (ae.objective[name].fn(outputs, DATA) for name in ("nll", "kl"))
    np.testing.assert_allclose(nll + kl, unlabeled, rtol=1e-5)
    classified = np.where(known, -log_q[np.arange(7), LABEL], 0.0)
    loss, metrics = compute_loss(ae.objective, outputs, {**DATA, "x": jnp.asarray(X)})
    np.testing.assert_allclose(loss, (want + 3.0 * classified).mean(), rtol=1e-5)
    right = (log_q.argmax(1) == LABEL)[known].mean()
    assert metrics["labeled"] == pytest.approx(known.mean())
    np.testing.assert_allclose(metrics["correct"] / metrics["labeled"], right, rtol=1e-6)


def test_the_best_guess_of_a_class_makes_its_bound_exact_in_y():
    """With ``q(y | x)`` proportional to ``exp(-L)``, U is ``-log sum_y exp(-L(x, y))``, and any
    other q has a larger one."""
    ae, _ = made()
    each, log_q = by_hand()
    best = -each - logsumexp(-each, 1)[:, None]
    kl = jnp.full_like(each, -np.log(CLASSES))  # each has the term of p(y) in it
    batch = {"x": X}

    def bound(log_class):
        outputs = {"log_class": jnp.float32(log_class), "class_nll": each, "class_kl": kl}
        return np.asarray(ae.objective["bound"].fn(outputs, batch))

    np.testing.assert_allclose(bound(best), -logsumexp(-each, 1), rtol=1e-6)
    assert (bound(log_q) > bound(best)).all()


def test_a_label_that_is_not_given_is_unknown():
    ae, variables = made()
    outputs = ae.outputs(variables, {"x": X})
    for name in ("bound", "classification"):
        fn = ae.objective[name].fn
        np.testing.assert_array_equal(
            fn(outputs, {"x": X}), fn(outputs, {"x": X, "label": np.full(7, -1)})
        )
    assert not np.any(ae.objective["labeled"].fn(outputs, {"x": X}))


def test_the_accuracy_of_a_run_is_of_all_its_batches():
    """Two labels in forty rows, in batches of four: most have none."""
    label = np.full(40, -1)
    label[[3, 30]] = 0, 1
    x = np.float32(RNG.uniform(size=(40, *X.shape[1:])))
    ae = spec(weight=50.0).build(X.shape[1:])
    data = {"x": x, "label": label}
    _, history = fit(ae, data, epochs=40, batch_size=4, optimizer=optax.adam(0.03))
    assert history[-1]["labeled"] == pytest.approx(0.05)
    assert history[-1]["correct"] == pytest.approx(0.05)  # it has learned both


def test_scores_of_anomalies_read_no_label():
    ae, variables = made()
    scores = [
        model_scores(ae, variables, {"x": X, "label": np.full(7, label)}) for label in (0, 2, 99)
    ]
    for other in scores[1:]:
        jax.tree.map(np.testing.assert_array_equal, scores[0], other)


def test_the_gradient_of_unlabeled_rows_reaches_the_classifier():
    ae, variables = made()

    def loss(params, batch):
        return compute_loss(ae.objective, ae.outputs({"params": params}, batch), batch)[0]

    batch = {"x": jnp.asarray(X), "label": jnp.full(7, -1)}
    grads = jax.grad(loss)(variables["params"], batch)
    assert np.abs(grads["class_logits"]["kernel"]).max() > 1e-5
    params, step = variables["params"], 1e-2

    def moved(by):
        logits = params["class_logits"]
        logits = {**logits, "bias": logits["bias"].at[1].add(by)}
        return loss({**params, "class_logits": logits}, batch)

    want = (moved(step) - moved(-step)) / (2 * step)
    np.testing.assert_allclose(grads["class_logits"]["bias"][1], want, rtol=0.02, atol=1e-3)


def test_the_evidence_is_the_sum_over_classes_by_quadrature():
    ae, variables = made(latent_dim=1)
    variables = with_wide_posterior(variables)
    got = log_likelihood(ae, variables, DATA, samples=20_000)
    z = np.linspace(-10, 10, 1001)
    total = []
    for y in range(CLASSES):
        one_hot = np.tile(np.eye(CLASSES)[y], (len(z), 1))
        latents = jnp.float32(np.concatenate([one_hot, z[:, None]], 1))
        logits = np.float64(ae.apply(variables, latents, method="decode")["logits"])
        log_p = (X[:, None] * logits - np.logaddexp(0, logits)).sum((2, 3))
        log_prior = -0.5 * (np.log(2 * np.pi) + z**2)
        total.append(logsumexp(log_p + log_prior, 1) + np.log(z[1] - z[0]))
    want = logsumexp(np.stack(total), 0) - np.log(CLASSES)
    np.testing.assert_allclose(got, want, atol=0.02)
    assert (elbo(ae, variables, DATA, samples=100)["elbo"] < want + 0.02).all()


def test_latents_are_probabilities_and_z():
    ae, variables = made()
    z = np.asarray(ae.encode(variables, X))
    _, log_q = by_hand()
    np.testing.assert_allclose(z[:, :CLASSES], np.exp(log_q), rtol=1e-4)
    outputs = ae.outputs(variables, {"x": X})
    np.testing.assert_allclose(z, outputs["z"], rtol=1e-5, atol=1e-6)
    drawn = ae.apply(variables, 7, rngs={"latent": jax.random.key(0)}, method="sample")
    assert drawn["label"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    np.testing.assert_array_equal(drawn["z"][:, :CLASSES].argmax(1), drawn["label"])


def test_padding_changes_nothing_with_dropout():
    ae, _ = made(dropout=0.4)
    tx = optax.sgd(0.1)
    state = init_state(ae, tx, jax.random.key(0))
    step = jax.jit(make_train_step(ae, tx))
    padded = {name: np.concatenate([column, column[:3]]) for name, column in DATA.items()}
    padded["mask"] = np.float32(np.arange(10) < 7)
    (one, metrics), (other, again) = step(state, DATA), step(state, padded)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for name, value in metrics.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-5)


def test_it_finds_the_classes_of_blobs_from_few_labels():
    rng = np.random.default_rng(0)
    center = np.float32(3 * np.eye(3)[:, :, None] * np.ones(4)).transpose(0, 2, 1)  # [3, 4, 3]
    truth = rng.integers(0, 3, 300)
    x = np.float32(center[truth] + 0.3 * rng.normal(size=(300, *SHAPE)))
    label = np.full(300, -1)
    for y in range(3):
        label[np.flatnonzero(truth == y)[:10]] = y
    ae = spec(likelihood=GaussianLikelihood(variance=0.1), weight=30.0).build(SHAPE)
    state, _ = fit(ae, {"x": x, "label": label}, epochs=60, batch_size=100, optimizer=1e-2)
    guess = np.asarray(ae.encode(state.variables, x))[:, :3].argmax(1)
    assert (guess == truth).mean() > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "classes=1: must be at least 2"),
        ({"joint": 0}, "joint=0: must be at least 1"),
        ({"weight": -1.0}, "weight=-1.0: must not be negative"),
        ({"dropout": 1.0}, r"dropout=1.0: must be in \[0, 1\)"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"likelihood": Error()}, r"likelihood=Error.*: needs a density, such as Bernoulli\(\)"),
    ],
)
def test_models_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        spec(**options)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "train: needs a column label: a class, or -1 where it is unknown"),
        (np.full(7, -1), "train: label is -1 of every example: some must be of a known class"),
        (np.full(7, 3), r"train: label\[0\] is 3: must lie in \[-1, 2\], by classes=3"),
        (np.full(7, -2), r"train: label\[0\] is -2: must lie in \[-1, 2\]"),
    ],
)
def test_labels_that_cannot_be(label, message):
    ae, _ = made()
    with pytest.raises(ValueError, match=message) as caught:
        fit(ae, {"x": X, "label": label}, steps=1)
    assert "\n" not in str(caught.value)


def test_other_data_may_have_no_labels():
    ae, _ = made(likelihood=Bernoulli(binarize=True))
    unlabeled = {"x": X, "label": np.full(7, -1)}
    _, history = fit(ae, DATA, steps=1, eval_data=unlabeled)
    assert history[-1]["classification"] == 0.0
    _, history = fit(ae, DATA, steps=1, eval_data=X)
    assert np.isfinite(history[-1]["loss"])
