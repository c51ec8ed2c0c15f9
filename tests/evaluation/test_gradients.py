"""Signal-to-noise ratios of gradients: one by one in NumPy, and the theory of Rainforth et al."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.core import compute_loss, streams
from ae_jax.evaluation.gradients import gradient_snr
from ae_jax.models import ImportanceWeighted, Variational
from ae_jax.networks import MLP
from experiments import gradients

X = jnp.float32(np.random.default_rng(0).integers(0, 2, size=(4, 5)))


@pytest.mark.parametrize("partial", [False, True])
def test_ratios_are_those_of_the_gradients_one_by_one(partial, numpy_state):
    spec = ImportanceWeighted(
        network=MLP(widths=(3,)), latent_dim=2, samples=2, groups=2, partial=partial
    )
    ae = spec.build((5,))
    variables = numpy_state(ae, optax.identity()).variables
    draws = 30

    def loss(params, player, key):
        outputs = ae.outputs({"params": params}, {"x": X}, rngs=streams(key))
        return compute_loss(ae.objective, outputs, {"x": X}, player=player)[0]

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    keys = [jax.random.fold_in(jax.random.key(3), n) for n in range(draws)]
    got = gradient_snr(ae, variables, {"x": X}, draws=draws, seed=3)
    assert got.keys() == {"encoder", "mean", "logvar", "decoder"}
    for name, ratio in got.items():
        player = "encoder" if partial and name != "decoder" else ""
        flat = [
            np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(g[name])])
            for g in (gradient(variables["params"], player, key) for key in keys)
        ]
        sample = np.float64(flat)
        noise = sample.var(0, ddof=1).sum()
        signal = np.square(sample.mean(0)).sum() - noise / draws
        np.testing.assert_allclose(ratio, np.sqrt(max(signal, 0) / noise), rtol=1e-3)


def test_pixels_are_floats(numpy_state):
    ae = Variational(network=MLP(widths=(3,)), latent_dim=2).build((5,))
    variables = numpy_state(ae, optax.identity()).variables
    pixels = np.uint8(255 * X)
    got, want = (gradient_snr(ae, variables, {"x": x}, draws=3) for x in (pixels, X))
    assert got == want


@pytest.mark.slow
def test_more_samples_help_dreg_and_hurt_the_plain_gradient():
    """The encoder's ratio falls as K^-1/2 and rises as K^1/2, the decoder's rises."""
    setting = gradients.linear_gaussian(examples=4, seed=0, size=4)
    ratios = gradients.measure(
        *setting, samples=(2, 32), estimators=("reparametrized", "dreg"), draws=3000
    )
    slopes = gradients.slopes(ratios)
    assert -0.7 < slopes["reparametrized"]["logvar"] < -0.3
    assert slopes["dreg"]["logvar"] > 0.2 and slopes["dreg"]["mean"] > 0.1
    assert 0.4 < slopes["reparametrized"]["decoder"] < 0.6
    assert "| dreg | mean |" in gradients.table(ratios)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "0"], r"samples=\(0,\): each must be at least 1"),
        (["--estimators", "vimo"], "did you mean 'vimco'"),
        (["--draws", "1"], "draws=1: at least 2"),
        (["--output", "ratios.svg"], "output='ratios.svg': must end in .json or .png"),
    ],
)
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        gradients.main(arguments)
