"""What the estimators share: their parameters, training, and the score of a row."""

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

from ae_jax.core import TrainState
from ae_jax.data import validated
from ae_jax.sklearn.models import specification
from ae_jax.sklearn.programs import Programs, in_chunks, programs
from ae_jax.spec import Spec, require
from ae_jax.training import fit


class AutoencoderEstimator(BaseEstimator):
    """An autoencoder of rows X [N, D], of floats that are taken as they are: scale them first.

    As for other networks, columns should be of a size near 1: put a `StandardScaler`, or for
    pixels a `MinMaxScaler`, before it in a `Pipeline`. All computation is in float32.

    Attributes:
      spec_, event_shape_: the specification of the model that was trained, and the shape of one
        example; ``spec_.build(event_shape_)`` is what the rest of `ae_jax` works with.
      variables_: the weights, a tree of NumPy arrays.
      loss_curve_: the training loss of every epoch.
      n_features_in_, feature_names_in_: columns of X, and their names if they have any.
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
        """Keep the parameters, which `fit` checks.

        Args:
          model: "vae", "vanilla", "tied", "denoising" (a quarter of the inputs masked), "sparse"
            (L1 on a ReLU code) or "contractive"; or a specification of `ae_jax.models`, for every
            other option.
          latent_dim: columns of the code. None is the model's own: 16 for a name.
          hidden_layer_sizes: units of the encoder's hidden layers, mirrored in the decoder. None is
            the model's own: (256,) for a name.
          loss: "mse", "mae", "huber", or "bce" for data in [0, 1]. None is the model's own: "mse"
            for a name. For a VAE "mse" is a Gaussian likelihood, with one variance that is learned,
            and "bce" a Bernoulli; it takes no other.
          epochs: passes over the data.
          batch_size: rows to an update of the weights; all rows if there are fewer.
          learning_rate: of Adam.
          event_shape: the shape of one example, whose elements a row has in order, for networks
            that need one: (28, 28, 1) for a convolutional network, steps and features for a
            recurrent one.
          random_state: of the initial weights, the order of the rows, and all noise.
          verbose: print a line after every epoch.
        """
        self.model = model
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
        """Train on X [N, D]. Only models that read labels use y, classes 0, 1, ...

        Raises `ValueError` or `TypeError`, one line, for data or parameters that cannot work, and
        `ae_jax.training.DivergedError` if the training does not stay finite.
        """
        spec = specification(
            self.model,
            latent_dim=self.latent_dim,
            hidden_layer_sizes=self.hidden_layer_sizes,
            loss=self.loss,
        )
        batch, rate = self.batch_size, self.learning_rate
        for name, count in (("epochs", self.epochs), ("batch_size", batch)):
            ok = isinstance(count, Integral) and count >= 1
            require(ok, name, count, "must be an integer >= 1")
        ok = isinstance(rate, Real) and 0 < rate < math.inf
        require(ok, "learning_rate", rate, "must be a positive number")
        rows = validate_data(self, X, dtype=np.float32)
        columns = rows.shape[1]
        shape = (columns,) if self.event_shape is None else tuple(self.event_shape)
        needs = f"must have as many elements as X has columns, {columns}"
        require(math.prod(shape) == columns, "event_shape", shape, needs)
        ae = spec.build(shape)
        data = {"x": rows.reshape(-1, *shape)}
        if "label" in ae.reads:
            require(y is not None, "y", y, "this model reads labels: give them")
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
        """How well the model explains each row of X [N, D]: [N], higher is better.

        For a VAE the ELBO in nats, ``log p(x | z) - KL(q(z | x) || p(z))`` with a beta of 1: the
        mean over 16 samples of the posterior, with the same noise for every row and call. For the
        others minus the reconstruction error, in the units of the model's loss: with "mse" and the
        default reduction the mean squared error over the columns.

        Raises `ValueError` for rows outside [0, 1] if the loss is a cross-entropy.
        """
        events = self._events(X)
        if self.spec_.build(self.event_shape_).unit_interval:
            validated(events, unit_interval=True)
        return in_chunks(self._programs().score, self.variables_, events).astype(np.float64)

    def _events(self, X: ArrayLike) -> np.ndarray:
        """New rows as examples, float32 [N, *event]."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float32, reset=False)
        return rows.reshape(-1, *self.event_shape_)

    def _programs(self) -> Programs:
        return programs(self.spec_, self.event_shape_)


def _print_row(_: TrainState, row: dict[str, Any]) -> None:
    print(f"epoch {row['epoch']:.0f}: loss {row['loss']:.6g}")
