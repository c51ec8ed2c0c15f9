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
# # Anomalies in a time series
#
# A recurrent autoencoder learns windows of a normal signal, and reconstructs other windows badly.
# The signal of this notebook is synthetic: a heart-like beat with noise. The anomalies are early
# beats and flat beats. For your own data, write a `.csv` or `.npz` file with one window per row.
# Then train and evaluate with `python -m experiments.train` and `python -m experiments.evaluate`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib.figure import Figure

from ae_jax import fit, plots
from ae_jax.evaluation.anomaly import detection_metrics, model_scores
from ae_jax.models import Vanilla
from ae_jax.networks import RNN

STEPS = 32  # the length of a window, about one beat
rng = np.random.default_rng(0)


def beats(count: int, *, jitter: float = 0.5, height: float = 1.0) -> np.ndarray:
    """Windows [count, STEPS] with a peak near the middle, and a dip after it."""
    time = np.arange(STEPS) - STEPS / 2 - rng.normal(0, jitter, size=(count, 1))
    shape = height * np.exp(-((time / 2.5) ** 2)) - 0.35 * np.exp(-(((time - 6) / 3) ** 2))
    return (shape + rng.normal(0, 0.03, size=shape.shape)).astype(np.float32)


train = beats(2000)
normal, early, flat = beats(500), beats(25), beats(25, height=0.5)
early = np.roll(early, -5, axis=1)
test = np.concatenate([normal, early, flat])
anomalous = np.repeat([False, True], [500, 50])

# %%
figure = Figure(figsize=(7, 3))
axes = figure.subplots()
for name, rows in {"normal": normal, "early": early, "flat": flat}.items():
    axes.plot(rows[:3].T, color={"normal": "C0", "early": "C3", "flat": "C1"}[name])
axes.set_xlabel("step of the window")
figure

# %% [markdown]
# One LSTM encodes a window as four latents, and another decodes them. The training set has only
# normal windows.

# %%
ae = Vanilla(network=RNN(widths=(32,)), latent_dim=4, loss="mse").build((STEPS,))
state, history = fit(ae, train, epochs=30, batch_size=64, optimizer=3e-3, seed=0)
history[-1]

# %% [markdown]
# The score of a window is its squared error. One normal window in a hundred has a score above the
# threshold.

# %%
scores = model_scores(ae, state.variables, {"x": test})["squared_error"]
metrics = detection_metrics(scores, anomalous, false_positive_rate=0.01)
print({name: round(value, 3) for name, value in metrics.items()})
assert metrics["roc_auc"] > 0.95

# %%
plots.score_histogram(
    scores, anomalous, threshold=metrics["threshold"], name="squared error of a window"
)

# %% [markdown]
# Which anomalies does it miss?

# %%
missed = np.flatnonzero(anomalous & (scores <= metrics["threshold"]))
print(f"{len(missed)} of {anomalous.sum()} missed: {(missed < 525).sum()} early, the others flat")

# %%
worst = np.argsort(-scores)[:6]
recon = np.asarray(ae.reconstruct(state.variables, test[worst]))
plots.reconstructions(test[worst], recon, labels=[f"{scores[i]:.2f}" for i in worst])
