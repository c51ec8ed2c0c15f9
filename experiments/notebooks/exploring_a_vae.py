# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exploring a VAE
#
# This notebook trains a variational autoencoder on images of digits. It shows the two terms of the
# loss, the plane of the latents, random samples, and the effect of the weight of the KL term.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import numpy as np

from ae_jax import fit, plots
from ae_jax.data import load
from ae_jax.models import Variational
from ae_jax.networks import MLP
from ae_jax.training import sweep

train, test = load("digits", "train"), load("digits", "test")
spec = Variational(network=MLP(widths=(256, 128)), latent_dim=2)
ae = spec.build((8, 8, 1))
state, history = fit(ae, train, epochs=100, batch_size=128, eval_data=test, seed=0)

# %% [markdown]
# The loss is the negative ELBO in nats per image. It is the sum of the reconstruction error (the
# negative log-likelihood) and the KL divergence of the posterior from the prior.

# %%
plots.loss_curves(history, unit="nats per image")

# %%
outputs = ae.apply(state.variables, jnp.float32(test["x"]) / 255)
mean = np.asarray(outputs["mean"])
deviation = np.exp(0.5 * np.asarray(outputs["logvar"]))
print("mean deviation of the posterior, by latent:", deviation.mean(axis=0).round(3))
plots.latent_scatter(mean, test["label"])

# %% [markdown]
# The next figure shows decoded points of the plane, evenly spaced in the prior's probability. The
# one after it shows decoded random draws from the prior.

# %%
decode = jax.jit(ae.decode)
plots.manifold(np.asarray(decode(state.variables, plots.manifold_latents())))

# %%
draws = jax.random.normal(jax.random.key(1), (40, 2))
plots.samples(np.asarray(decode(state.variables, draws)))

# %% [markdown]
# Here the latents change along a straight line from one digit to another:

# %%
start, end = mean[0], mean[7]
path = start + jnp.linspace(0, 1, 10)[:, None] * (end - start)
plots.image_rows({"between": np.asarray(decode(state.variables, path))})

# %% [markdown]
# `sweep` trains models with three weights of the KL term and two seeds of each, all in one program.
# With a larger weight the latents contain less information about the image.

# %%
result = sweep(
    lambda beta: Variational(network=MLP(widths=(128,)), latent_dim=8, beta=beta).build((8, 8, 1)),
    {"beta": [0.3, 1.0, 4.0]},
    seeds=range(2),
    train=train,
    eval_data=test,
    epochs=60,
    batch_size=128,
)
rows = result.table()
for row in rows:
    kl, nll = row["kl"], row["nll"]
    print(f"beta {row['beta']}: kl {kl[0]:.2f} ± {kl[1]:.2f}, nll {nll[0]:.2f} ± {nll[1]:.2f}")
kls = [row["kl"][0] for row in rows]
assert kls == sorted(kls, reverse=True)
