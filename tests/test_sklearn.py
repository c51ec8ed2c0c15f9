"""The scikit-learn estimators: scikit-learn's checks, scores against mathematics, real digits."""

import jax
import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from ae_jax.likelihoods import GaussianLikelihood
from ae_jax.models import (
    Conditional,
    Convolutional,
    Ladder,
    SemiSupervised,
    Sparse,
    Vanilla,
    Variational,
)
from ae_jax.networks import MLP, RNN, ConvNet
from ae_jax.sklearn import (
    AutoencoderOutlierDetector,
    AutoencoderTransformer,
    SparseDictionary,
)
from ae_jax.sklearn import programs as programs_module
from ae_jax.sklearn.models import MODELS, specification
from ae_jax.sklearn.programs import programs

pytestmark = pytest.mark.usefixtures("compiled_once")
QUICK = {  # few fits, and the ones that break first; all of them run in the slow group
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_transformers_unfitted",
    "check_valid_tag_types",
}


def checks():
    """Every check of scikit-learn's `check_estimator`; none is expected to fail."""
    for cls in (AutoencoderTransformer, AutoencoderOutlierDetector, SparseDictionary):
        for estimator, check in estimator_checks_generator(cls(epochs=2)):
            name = check.func.__name__
            marks = () if name in QUICK else pytest.mark.slow
            options = [f"{k}={v}" for k, v in check.keywords.items()]
            yield pytest.param(
                estimator, check, marks=marks, id="-".join([cls.__name__, name, *options])
            )


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learns_own_check(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def vanilla(rows):
    model = AutoencoderTransformer("vanilla", latent_dim=3, epochs=2, random_state=0)
    return model.fit(rows)


def test_codes_and_reconstructions_are_those_of_the_autoencoder(vanilla, rows):
    ae = vanilla.spec_.build(vanilla.event_shape_)
    z = vanilla.transform(rows)
    assert z.shape == (300, 3) and z.dtype == np.float32
    np.testing.assert_allclose(z, ae.encode(vanilla.variables_, rows), rtol=1e-5, atol=1e-6)
    recon = vanilla.inverse_transform(z)
    np.testing.assert_allclose(recon, ae.decode(vanilla.variables_, z), rtol=1e-5, atol=1e-6)
    assert list(vanilla.get_feature_names_out()) == [f"autoencodertransformer{i}" for i in range(3)]


def test_a_row_has_the_same_bits_in_any_company(vanilla, rows):
    for method in (vanilla.transform, vanilla.score_samples):
        together = method(rows)
        np.testing.assert_array_equal(method(rows[7:8])[0], together[7])
        np.testing.assert_array_equal(method(rows[::-1])[::-1], together)


def test_score_is_minus_the_squared_error_of_the_columns(vanilla, rows):
    recon = vanilla.inverse_transform(vanilla.transform(rows)).astype(np.float64)
    want = -((recon - rows) ** 2).mean(axis=1)
    np.testing.assert_allclose(vanilla.score_samples(rows), want, rtol=1e-5)
    np.testing.assert_allclose(vanilla.score(rows), want.mean(), rtol=1e-5)


def test_score_of_a_vae_is_the_elbo(monkeypatch):
    """A linear decoder has it in closed form; beta and free bits are not part of it."""
    rng = np.random.default_rng(1)
    draws, columns, codes, variance = 10_000, 5, 2, 3.0
    spec = Variational(
        network=MLP(), latent_dim=codes, likelihood="gaussian", variance=variance,
        beta=4.0, free_bits=0.5,
    )  # fmt: skip
    shapes = {"mean": (columns, codes), "logvar": (columns, codes)}
    params = {
        name: {"kernel": 0.5 * rng.normal(size=shape), "bias": 0.5 * rng.normal(size=shape[1])}
        for name, shape in shapes.items()
    }
    out = {"kernel": rng.normal(size=(codes, columns)), "bias": rng.normal(size=columns)}
    variables = {"params": {**params, "decoder": {"Dense_0": out}}}
    x = rng.normal(size=(3, columns))

    mean = x @ params["mean"]["kernel"] + params["mean"]["bias"]
    logvar = x @ params["logvar"]["kernel"] + params["logvar"]["bias"]
    w, error = out["kernel"], x - mean @ out["kernel"] - out["bias"]
    # E_q |x - Wz - b|^2 = |x - W mean - b|^2 + sum_j exp(logvar_j) |w_j|^2
    squared = (error**2).sum(1) + np.exp(logvar) @ (w**2).sum(1)
    nll = 0.5 * (columns * np.log(2 * np.pi * variance) + squared / variance)
    kl = 0.5 * (np.exp(logvar) + mean**2 - 1 - logvar).sum(1)

    # A draw's log-likelihood is a quadratic form of Gaussian noise, whose variance is exact too.
    half = np.exp(0.5 * logvar)[:, :, None] * w  # [row, code, column]
    gram = half @ half.transpose(0, 2, 1)
    linear = (half @ error[:, :, None])[:, :, 0]
    deviation = np.sqrt((2 * (gram**2).sum((1, 2)) + 4 * (linear**2).sum(1)) / (2 * variance) ** 2)

    monkeypatch.setattr(programs_module, "DRAWS", draws)
    score = programs.__wrapped__(spec, (columns,)).score
    got = np.asarray(score(jax.tree.map(np.float32, variables), x.astype(np.float32)))
    errors = np.abs(got + nll + kl) / (deviation / np.sqrt(draws))
    assert (errors < 5).all()
    assert (np.abs(got + nll + 4 * kl) > 5 * deviation / np.sqrt(draws)).all()


def test_clone_and_joblib(vanilla, rows, tmp_path):
    joblib.dump(vanilla, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(again.transform(rows), vanilla.transform(rows))
    assert again.spec_ == vanilla.spec_
    fresh = clone(vanilla)
    assert fresh.get_params() == vanilla.get_params()
    with pytest.raises(NotFittedError):
        fresh.transform(rows)
    assert clone(AutoencoderTransformer(Sparse(weight=0.1))).model == Sparse(weight=0.1)


def test_random_state_may_be_a_generator(vanilla, rows, capsys):
    """`RandomState(0)` draws what the seed 0 does; and `verbose` prints what is kept."""
    given = {**vanilla.get_params(), "random_state": np.random.RandomState(0), "verbose": True}
    again = AutoencoderTransformer(**given).fit(rows)
    np.testing.assert_array_equal(again.transform(rows), vanilla.transform(rows))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"epoch {i + 1}: loss {v:.6g}" for i, v in enumerate(again.loss_curve_)]
    assert len(lines) == 2


def test_parameters_replace_the_models_own():
    vae = specification("vae", latent_dim=np.int64(3), hidden_layer_sizes=np.array([8, 4]))
    assert vae.network == MLP(widths=(8, 4)) and vae.latent_dim == 3
    assert specification("vae", loss="bce").likelihood == "bernoulli"
    assert specification("tied", loss="huber").loss == "huber"
    mine = Sparse(network=MLP(widths=(5,), activation="tanh"), weight=0.5)
    assert specification(mine) == mine
    wider = specification(mine, hidden_layer_sizes=(7,))
    assert wider.network == MLP(widths=(7,), activation="tanh") and wider.weight == 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "vea"}, "model='vea': did you mean 'vae'"),
        ({"latent_dim": 2.5}, "latent_dim=2.5: must be of type int"),
        ({"latent_dim": 0}, "latent_dim=0: must be at least 1"),
        ({"hidden_layer_sizes": 5}, "widths=5: must be a list"),
        ({"hidden_layer_sizes": (3,), "model": Convolutional()}, "network is convnet, not mlp"),
        ({"loss": "mae"}, "loss='mae': must be mse or bce for a VAE"),
        ({"loss": "l2", "model": "tied"}, "loss='l2': known: bce, huber, mae, mse"),
        ({"loss": "bce"}, "needs [0, 1]"),
        ({"epochs": 0}, "epochs=0: must be an integer >= 1"),
        ({"batch_size": 2.0}, "batch_size=2.0: must be an integer >= 1"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0: must be a positive number"),
        ({"event_shape": (3, 3)}, "event_shape=(3, 3): must have as many elements"),
    ],
)
def test_parameters_that_cannot_work(rows, given, message):
    with pytest.raises(ValueError) as error:
        AutoencoderTransformer(**given).fit(rows)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_class_is_no_model(rows):
    with pytest.raises(TypeError, match="or a specification of ae_jax.models"):
        AutoencoderTransformer(Vanilla).fit(rows)


@pytest.mark.parametrize("contamination", [0, 0.6, "none", None, float("nan")])
def test_contamination_that_is_no_fraction(rows, contamination):
    with pytest.raises(ValueError, match='must be "auto" or in \\(0, 0.5\\]'):
        AutoencoderOutlierDetector(contamination=contamination).fit(rows)


def test_codes_of_another_width_are_refused(vanilla):
    with pytest.raises(ValueError, match="Z has 2 columns; this model has 3 latents"):
        vanilla.inverse_transform(np.zeros((1, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_name_learns(name):
    """Rows of 6 columns that are 2 factors and a little noise, to a code of 2."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(400, 6))
    model = AutoencoderTransformer(name, latent_dim=2, batch_size=32, random_state=0).fit(x)
    recon = model.inverse_transform(model.transform(x))
    # Measured: 0.013 to 0.017 of the variance, and 0.033 for denoising.
    assert ((recon - x) ** 2).mean() < 0.1 * x.var(axis=0).mean()
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Convolutional(network=ConvNet(filters=(4,)), loss="mse"), (4, 4, 1)),
        (Variational(network=RNN(widths=(8,)), latent_dim=3), (4, 4)),
    ],
    ids=["conv", "recurrent"],
)
def test_rows_that_are_images_or_sequences(model, shape):
    x = np.random.default_rng(0).random((20, 16), np.float32)
    estimator = AutoencoderTransformer(model, event_shape=shape, epochs=1, random_state=0).fit(x)
    ae, z = estimator.spec_.build(shape), estimator.transform(x)
    want = ae.encode(estimator.variables_, x.reshape(-1, *shape))
    np.testing.assert_allclose(z, want.reshape(20, -1), rtol=1e-4, atol=1e-5)
    assert len(estimator.get_feature_names_out()) == z.shape[1]
    recon = ae.reconstruct(estimator.variables_, x.reshape(-1, *shape)).reshape(20, 16)
    np.testing.assert_allclose(estimator.inverse_transform(z), recon, rtol=1e-4, atol=1e-5)
    assert np.isfinite(estimator.score_samples(x)).all()
    if ae.unit_interval:
        with pytest.raises(ValueError, match="needs \\[0, 1\\]"):
            estimator.score_samples(3 * x)


@pytest.fixture(scope="module")
def digits():
    x, label = load_digits(return_X_y=True)
    return train_test_split(x, label, random_state=0, stratify=label)


@pytest.mark.slow
def test_latents_of_several_levels_are_flat_columns(rows):
    model = Ladder(widths=(5, 4), latent_dims=(3, 2), likelihood=GaussianLikelihood())
    fitted = AutoencoderTransformer(model, epochs=2).fit(rows)
    z = fitted.transform(rows)
    assert z.shape == (len(rows), 5) and len(fitted.get_feature_names_out()) == 5
    ae = model.build((rows.shape[1],))
    latents = ae.encode(fitted.variables_, np.float32(rows))
    np.testing.assert_allclose(z, np.concatenate(latents, axis=1), rtol=1e-5, atol=1e-6)
    want = ae.decode(fitted.variables_, latents)
    np.testing.assert_allclose(fitted.inverse_transform(z), want, rtol=1e-4, atol=1e-5)


def test_models_that_learn_from_labels_read_them_from_y(rows):
    model = SemiSupervised(network=MLP(widths=(6,)), latent_dim=2, classes=2, joint=4)
    x, y = np.clip(rows, 0, 1), np.arange(len(rows)) % 2
    fitted = AutoencoderTransformer(model, epochs=2).fit(x, y)
    assert fitted.transform(x).shape == (len(x), 4)
    other = AutoencoderTransformer(model, epochs=2).fit(x, 1 - y)
    assert fitted.loss_curve_ != other.loss_curve_
    with pytest.raises(ValueError, match="this model needs labels: pass them as y"):
        AutoencoderTransformer(model).fit(x)
    assert AutoencoderOutlierDetector(model, epochs=1).fit(x, y).predict(x).shape == (len(x),)


def test_models_that_are_given_a_column_are_refused(rows):
    with pytest.raises(ValueError, match="model='Conditional': is given label beside X"):
        AutoencoderTransformer(Conditional()).fit(rows, np.zeros(len(rows), int))


def test_outliers_of_real_digits(digits):
    """Trained on threes alone; every other digit is an outlier."""
    train, test, label, test_label = digits
    threes = train[label == 3] / 16
    detector = AutoencoderOutlierDetector("vanilla", contamination=0.1, random_state=0)
    found = detector.fit_predict(threes)
    assert (found == -1).sum() == round(0.1 * len(threes)) and set(found) == {-1, 1}
    decision = detector.decision_function(test / 16)
    np.testing.assert_array_equal(detector.predict(test / 16), np.where(decision < 0, -1, 1))
    assert roc_auc_score(test_label == 3, decision) > 0.97  # measured: 0.992


@pytest.mark.slow
def test_pipeline_on_real_digits(digits):
    train, test, label, test_label = digits
    pipe = make_pipeline(
        MinMaxScaler(),
        AutoencoderTransformer("vanilla", random_state=0),
        LogisticRegression(max_iter=1000),
    )
    accuracy = pipe.fit(train, label).score(test, test_label)
    assert accuracy > 0.9  # measured: 0.956


@pytest.mark.slow
def test_grid_search_over_the_code_of_a_vae(digits):
    train, test, label, test_label = digits
    pipe = make_pipeline(
        MinMaxScaler(),
        AutoencoderTransformer(random_state=0),
        LogisticRegression(max_iter=1000),
    )
    grid = {"autoencodertransformer__latent_dim": [2, 16]}
    search = GridSearchCV(pipe, grid, cv=2, n_jobs=2).fit(train, label)
    assert search.best_params_ == {"autoencodertransformer__latent_dim": 16}
    assert search.score(test, test_label) > 0.9  # measured: 0.958


@pytest.mark.slow
def test_one_class_digits_in_turn(digits):
    train, test, label, test_label = digits
    detector = AutoencoderOutlierDetector(random_state=0)
    areas = []
    for digit in range(10):
        normal = train[label == digit] / 16
        scores = detector.fit(normal).score_samples(normal)
        first, third = np.percentile(scores, [25, 75])
        assert detector.offset_ == pytest.approx(first - 1.5 * (third - first))
        areas.append(roc_auc_score(test_label == digit, detector.decision_function(test / 16)))
    assert np.mean(areas) > 0.97  # measured: 0.987
