"""Sparse coding with a dictionary that is learned: few active components of many."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Integral
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix, vstack
from sklearn.utils.validation import check_array, check_is_fitted

from ae_jax.core import refuse_masked
from ae_jax.models import Dictionary
from ae_jax.sklearn.programs import each_chunk, in_chunks
from ae_jax.sklearn.transformer import AutoencoderTransformer
from ae_jax.sparsifiers import (
    AnySparsifier,
    BatchTopK,
    Gated,
    JumpReLU,
    L1Sparsifier,
    MatchingPursuit,
    TopK,
)
from ae_jax.spec import nearest, require

# A few hundred updates must suffice. Elements of normalized rows are near 1 in size.
QUICKLY: Any = {"tuning_rate": 0.03}
WIDE: Any = {"threshold": 1.0, "bandwidth": 2.0}
DEAD_AFTER = 100

SPARSIFIERS: Mapping[str, Callable[[int], AnySparsifier]] = MappingProxyType(
    {
        "top_k": lambda k: TopK(active=k),
        "batch_top_k": lambda k: BatchTopK(active=k),
        "matching_pursuit": lambda k: MatchingPursuit(active=k),
        "l1": lambda k: L1Sparsifier(target_l0=float(k), weight=0.1, **QUICKLY),
        "jump_relu": lambda k: JumpReLU(target_l0=float(k), weight=0.1, **QUICKLY, **WIDE),
        "gated": lambda k: Gated(target_l0=float(k), **QUICKLY),
    }
)


class SparseDictionary(AutoencoderTransformer):
    """A sparse autoencoder: rows X [N, D] as sums of few of many components.

    ``X ~ transform(X) @ components_ + intercept_``. Unlike scikit-learn's ``DictionaryLearning`` it
    learns an encoder too: to transform a row is one matrix product. It may have far more components
    than D. The model subtracts the mean of X and divides by one number: neither is needed before.

    Attributes:
      components_: the directions [n_components, D], in the units of X.
      intercept_: the reconstruction [D] of a row without active components.
      spec_, event_shape_, variables_, loss_curve_, n_features_in_, feature_names_in_: see
        `AutoencoderEstimator`.

    Source: Gao et al., Scaling and evaluating sparse autoencoders, 2024; see `Dictionary`.
    """

    event_shape = None  # rows are vectors

    def __init__(
        self,
        n_components: int | None = None,
        *,
        n_nonzero_coefs: int | None = None,
        sparsifier: str | AnySparsifier = "top_k",
        sparse_output: bool = False,
        model: Dictionary | None = None,
        epochs: int = 50,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        """Store the parameters. `fit` checks them.

        Args:
          n_components: number of components. None is 4 times the columns of X.
          n_nonzero_coefs: number of active components: of each row with "top_k" and
            "matching_pursuit", on average with the others. None is a tenth of the columns of X,
            at least 1.
          sparsifier: "top_k", "batch_top_k", "matching_pursuit", "l1", "jump_relu" or "gated", or a
            specification of `ae_jax.sparsifiers`, which has a number of active components of its
            own.
          sparse_output: whether `transform` returns a `scipy.sparse.csr_matrix`.
          model: a specification with every other option (prefixes, refinement, ...). Its width and
            sparsifier are replaced by those above.
          epochs: passes over the data.
          batch_size: rows per update of the weights, at most the number of rows.
          learning_rate: learning rate of Adam.
          random_state: seed or generator of the initial weights and the order of rows.
          verbose: print a line after every epoch.
        """
        self.n_components = n_components
        self.n_nonzero_coefs = n_nonzero_coefs
        self.sparsifier = sparsifier
        self.sparse_output = sparse_output
        self.model = model
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.verbose = verbose

    def transform(self, X: ArrayLike) -> Any:
        """Return the activations [N, n_components] of X [N, D], float32: an array, or with
        `sparse_output` a CSR matrix."""
        events = self._events(X)
        if not self.sparse_output:
            return in_chunks(self._programs().encode, self.variables_, events)
        chunks = each_chunk(self._programs().encode, self.variables_, events)
        return vstack([csr_matrix(chunk) for chunk in chunks], format="csr")

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Return the reconstructions [N, D] of activations Z [N, n_components], sparse or dense.

        Raises `ValueError` if Z has another number of columns.
        """
        check_is_fitted(self)
        refuse_masked(Z, "Z")
        codes = check_array(Z, dtype=np.float32, accept_sparse="csr", input_name="Z")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {codes.shape[1]} columns; this model has {self._n_features_out} components"
            )
        return in_chunks(self._programs().decode, self.variables_, codes)

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Return minus the mean squared error over the columns of each row of X [N, D]: [N]."""
        rows = self._events(X)
        programs = self._programs()

        def error(variables: Any, x: Any) -> Any:
            return ((programs.decode(variables, programs.encode(variables, x)) - x) ** 2).mean(1)

        return -in_chunks(error, self.variables_, rows).astype(np.float64)

    @property
    def components_(self) -> np.ndarray:
        """The directions of the components, in the units of X: [n_components, D]."""
        check_is_fitted(self)
        ae = self.spec_.build(self.event_shape_)
        return np.asarray(ae.apply(self.variables_, method="directions"))

    @property
    def intercept_(self) -> np.ndarray:
        """The reconstruction of a row without active components: [D]."""
        check_is_fitted(self)
        return self.inverse_transform(np.zeros((1, self._n_features_out), np.float32))[0]

    def _specification(self, columns: int) -> Dictionary:
        model: Any = self.model
        if model is None:
            model = Dictionary(center="mean", normalize=True, dead_after=DEAD_AFTER)
        elif not isinstance(model, Dictionary):
            raise TypeError(f"model={model!r}: must be a Dictionary of ae_jax.models, or None")
        needs = "X is one source and its own target: use ae_jax.fit for others"
        require(model.target_dim is None, "model.target_dim", model.target_dim, needs)
        require(not model.sources, "model.sources", model.sources, needs)
        width = self.n_components
        width = 4 * columns if width is None else width
        count = self.n_nonzero_coefs
        if count is None:
            count = max(columns // 10, 1)
            count = min(count, width) if isinstance(width, Integral) else count
        for name, value in (("n_components", width), ("n_nonzero_coefs", count)):
            ok = isinstance(value, Integral) and value >= 1
            require(ok, name, value, "must be an integer >= 1")
        sparsifier: Any = self.sparsifier
        if isinstance(sparsifier, str):
            require(count <= width, "n_nonzero_coefs", count, f"there are {width} components")
            if sparsifier not in SPARSIFIERS:
                known = nearest(sparsifier, SPARSIFIERS)
                raise ValueError(f"sparsifier={sparsifier!r}: {known}")
            sparsifier = SPARSIFIERS[sparsifier](int(count))
        elif not isinstance(sparsifier, AnySparsifier):
            raise TypeError(
                f"sparsifier={sparsifier!r}: must be one of {', '.join(SPARSIFIERS)}, or a "
                "specification of ae_jax.sparsifiers"
            )
        tied = model.tied or isinstance(sparsifier, MatchingPursuit)
        return replace(model, width=int(width), sparsifier=sparsifier, tied=tied)
