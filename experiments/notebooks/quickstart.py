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
# # Quickstart
#
# Train an autoencoder on scikit-learn's digits (without a download), look at its reconstructions
# and latents, and compare it with PCA. Open this file as a notebook with jupytext, or run it as a
# script.

# %%
# %matplotlib inline
import jax
import numpy as np

from ae_jax import fit, plots
from ae_jax.data import load
from ae_jax.evaluation import fit_pca
from ae_jax.evaluation.reconstruction import reconstruction_metrics
from ae_jax.models import Vanilla
from ae_jax.networks import MLP

train, test = load("digits", "train"), load("digits", "test")
train["x"].shape, train["x"].dtype

# %% [markdown]
# A *specification* is plain data. Its method `build` returns an autoencoder for examples of one
# shape: a Flax module and the terms of its loss. Building allocates no parameters.

# %%
spec = Vanilla(network=MLP(widths=(128,)), latent_dim=8, latent_activation="linear")
ae = spec.build(train["x"].shape[1:])
ae.objective

# %% [markdown]
# `fit` compiles a train step and runs all epochs on the device. It returns the final state, a tree
# of arrays, and the history, a list of rows.

# %%
state, history = fit(ae, train, epochs=100, batch_size=64, eval_data=test, seed=0)
history[-1]

# %%
plots.loss_curves(history, unit="nats per pixel")

# %% [markdown]
# `encode`, `decode` and `reconstruct` are pure functions of the variables.

# %%
recon = jax.jit(ae.reconstruct)(state.variables, test["x"])
plots.reconstructions(test["x"], np.asarray(recon), labels=test["label"])

# %% [markdown]
# Is the error lower than that of PCA with the same number of components?

# %%
x = np.float32(test["x"]) / 255
pca = fit_pca(train["x"], 8)
pca_error = float(np.square(pca.decode(pca.encode(test["x"])) - x).mean())
ours = reconstruction_metrics(ae, state.variables, test["x"])
print(f"squared error per pixel: ours {ours['mse']:.4f}, PCA {pca_error:.4f}")
assert ours["mse"] < pca_error

# %%
z = np.asarray(jax.jit(ae.encode)(state.variables, test["x"]))
plots.latent_scatter(z, test["label"])
