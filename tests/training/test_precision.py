"""bfloat16: computed in it, while parameters, losses, codes and noise stay float32."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.models import Contractive, Convolutional, Tied, Vanilla, Variational
from ae_jax.networks import MLP, RNN, ConvNet
from ae_jax.training import make_eval_step, make_train_step

SGD = optax.sgd(0.1)
WIDE = MLP(widths=(8,), activation="tanh")
MODELS = {
    "vanilla": Vanilla(network=WIDE, latent_dim=4),
    "tied": Tied(network=WIDE, latent_dim=3),
    "contractive": Contractive(weight=0.1, latent_dim=3, latent_activation="sigmoid"),
    "conv": Convolutional(network=ConvNet(filters=(4, 3))),
    "lstm": Vanilla(network=RNN(widths=(5, 3)), latent_dim=None),
    "vae": Variational(network=WIDE, latent_dim=2),
}
X = np.random.default_rng(0).random((16, 4, 3), np.float32)


@pytest.mark.parametrize(
    "name",
    [n if n == "vanilla" else pytest.param(n, marks=pytest.mark.slow) for n in MODELS],
)
def test_a_step_in_bfloat16_is_nearly_the_step_in_float32(name, numpy_state):
    ae = MODELS[name].build((4, 3))
    half = replace(ae, dtype=jnp.bfloat16)
    state = numpy_state(ae, SGD)

    @jax.jit
    def everything(state):
        steps = [make_train_step(model, SGD)(state, {"x": X}) for model in (half, ae)]
        recon, z = half.reconstruct(state.variables, X), half.encode(state.variables, X)
        return *steps, (recon, z, make_eval_step(half)(state, {"x": X}))

    got, want, used = everything(state)
    leaves = jax.tree.leaves((got[0].params, got[1], used))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    np.testing.assert_allclose(got[1]["loss"], want[1]["loss"], rtol=0.01)
    move, wanted = (
        jax.tree.map(jnp.subtract, after.params, state.params) for after in (got[0], want[0])
    )
    off = optax.tree.norm(jax.tree.map(jnp.subtract, move, wanted))
    assert 0 < off < 0.05 * optax.tree.norm(wanted)
