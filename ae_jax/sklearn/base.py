"""The base class of the estimators: parameters, training, and the score of a row."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Self

import jax
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ae_jax.core import TrainState, refuse_masked
from ae_jax.data import validated
from ae_jax.sklearn.models import specification
from ae_jax.sklearn.programs import Programs, in_chunks, programs
from ae_jax.spec import Spec, require
from ae_jax.training import fit


class AutoencoderEstimator(BaseEstimator):
    """An autoencoder of the rows of X [N, D].

    X is not scaled. As for other networks, the values of each column should be near 1 in size: put
    a `StandardScaler`, or for pixels a `MinMaxScaler`, before the estimator in a `Pipeline`. All
    computation is in float32.

    Attributes:
      spec_, event_shape_: the specification of the trained model, and the shape of one example.
        ``spec_.build(event_shape_)`` is the model for the rest of `ae_jax`.
      variables_: the trained weights, a tree of NumPy arrays.
      loss_curve_: the training loss of every epoch.
      n_features_in_, feature_names_in_: number of columns of X, and their names if they have names.
    """

    def __init__(
        self,
        model: str | Spec = "vae",
        *,
        latent_dim: int | None = None,
        hidden_layer_sizes: Sequence[int] | None = None,
        loss: str | None = None,
        epochs: int = 50,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        event_shape: Sequence[int] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        """Store the parameters. `fit` checks them.

        Args:
          model: a name or a specification. Names are "vae", "vanilla", "tied", "denoising" (a
            quarter of the inputs masked), "sparse" (ReLU latents with an L1 penalty) and
            "contractive". A specification of `ae_jax.models` has every other option.
          latent_dim: number of latents. None keeps the model's own, 16 for a name.
          hidden_layer_sizes: units of the encoder's hidden layers, mirrored in the decoder. None
            keeps the model's own, (256,) for a name.
          loss: "mse", "mae", "huber", or "bce" for data in [0, 1]. None keeps the model's own,
            "mse" for a name. A VAE has only "mse", a Gaussian likelihood with one learned variance,
            and "bce", a Bernoulli likelihood.
          epochs: passes over the data.
          batch_size: rows per update of the weights, at most the number of rows.
          learning_rate: learning rate of Adam.
          event_shape: shape that a row is reshaped to, for networks that need one:
            (28, 28, 1) for a convolutional network, (steps, features) for a recurrent one.
          random_state: seed or generator of the initial weights, the order of rows and all noise.
          verbose: print a line after every epoch.
        """
        self.model: Any = model
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.loss = loss
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.event_shape = event_shape
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train on X [N, D] and return self. Only models that read labels use y, classes 0, 1, ...

        Raises `ValueError` or `TypeError` for invalid data or parameters, and
        `ae_jax.training.DivergedError` if the loss or a gradient is not finite.
        """
        batch, rate = self.batch_size, self.learning_rate
        for name, count in (("epochs", self.epochs), ("batch_size", batch)):
            ok = isinstance(count, Integral) and count >= 1
            require(ok, name, count, "must be an integer >= 1")
        ok = isinstance(rate, Real) and 0 < rate < math.inf
        require(ok, "learning_rate", rate, "must be a positive number")
        refuse_masked(X, "X")
        rows = validate_data(self, X, dtype=np.float32)
        columns = rows.shape[1]
        spec = self._specification(columns)
        shape = (columns,) if self.event_shape is None else tuple(self.event_shape)
        needs = f"must have as many elements as X has columns, {columns}"
        require(math.prod(shape) == columns, "event_shape", shape, needs)
        ae = spec.build(shape)
        needs = f"is given {', '.join(ae.given)} beside X, which has no place here: use ae_jax.fit"
        require(not ae.given, "model", type(spec).__name__, needs)
        data = {"x": rows.reshape(-1, *shape)}
        if "label" in (*ae.reads, *ae.supervised):
            require(y is not None, "y", y, "this model needs labels: pass them as y")
            data["label"] = np.asarray(y)
        result = fit(
            ae,
            data,
            epochs=self.epochs,
            batch_size=min(batch, len(rows)),
            optimizer=float(rate),
            seed=check_random_state(self.random_state).randint(2**31 - 1),
            callbacks=[_print_row] if self.verbose else [],
        )
        self.spec_, self.event_shape_ = spec, shape
        self.variables_ = jax.device_get(result.state.variables)
        self.loss_curve_ = [row["loss"] for row in result.history]
        return self

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Return the score of each row of X [N, D], an array [N]; higher is better.

        The score of a VAE is the ELBO in nats, ``log p(x | z) - KL(q(z | x) || p(z))`` with
        beta = 1. It is the mean over 16 samples of the posterior, with the same noise for every row
        and call. The score of any other model is minus its reconstruction error, in the units of
        its loss: with "mse" and the default reduction, the mean squared error over the columns.

        Raises `ValueError` for values outside [0, 1] if the loss is a cross-entropy, and
        `TypeError` for masked arrays.
        """
        events = self._events(X)
        return in_chunks(self._programs().score, self.variables_, events).astype(np.float64)

    def _specification(self, columns: int) -> Any:
        """Return the specification of the model for rows of `columns` numbers."""
        return specification(
            self.model,
            latent_dim=self.latent_dim,
            hidden_layer_sizes=self.hidden_layer_sizes,
            loss=self.loss,
        )

    def _events(self, X: ArrayLike) -> np.ndarray:
        """Return the rows of X as examples, float32 [N, *event]."""
        check_is_fitted(self)
        refuse_masked(X, "X")
        rows = validate_data(self, X, dtype=np.float32, reset=False)
        events = rows.reshape(-1, *self.event_shape_)
        support = self.spec_.build(self.event_shape_).support
        return validated(events, support=support)["x"]

    def _programs(self) -> Programs:
        return programs(self.spec_, self.event_shape_)


def _print_row(_: TrainState, row: dict[str, Any]) -> None:
    print(f"epoch {row['epoch']:.0f}: loss {row['loss']:.6g}")
