"""The metrics of a dictionary on data: how well it reconstructs, and how sparsely."""

from ae_jax.evaluation.dictionaries.statistics import DictionaryStatistics
from ae_jax.spec import require

DENSE_SHARE = 0.1
CONVENTIONS = {
    "explained_variance": "1 - sum of squared errors / sum of squared deviations of the targets "
    "from their mean, over all examples and elements",
    "l0": "latents that are not 0, mean over examples",
    "dead": "share of latents that are 0 for every example",
    "dense": "share of latents that are not 0 for more than the dense share of the examples",
    "cosine": "of reconstruction and target, mean over examples",
    "relative_norm": "norm of the reconstruction / norm of the target, mean over examples",
    "slope": "the factor of all reconstructions with the least squared error: above 1, they are "
    "too small",
    "mean_activation": "of a latent over the examples that it is not 0 for, mean over live latents",
}


def dictionary_metrics(
    statistics: DictionaryStatistics, *, dense_share: float = DENSE_SHARE
) -> dict[str, float]:
    """The metrics that `CONVENTIONS` describes, of the sums over a data set.

    ``slope`` is ``sum target . recon / sum |recon|^2``, the inverse of the relative reconstruction
    bias of Rajamanoharan et al., Improving dictionary learning with gated sparse autoencoders,
    2024, which is below 1 where reconstructions are too small.

    Raises `ValueError` for targets that are all equal, or a `dense_share` that is not in (0, 1).
    """
    require(0 < dense_share < 1, "dense_share", dense_share, "must be between 0 and 1")
    s = statistics
    if not s.deviation > 0:
        raise ValueError(
            f"the {s.examples} targets are all equal: explained variance needs some that differ"
        )
    live = s.fired > 0
    return {
        "explained_variance": 1.0 - s.squared_error / s.deviation,
        "l0": float(s.fired.sum() / s.examples),
        "dead": float(1.0 - live.mean()),
        "dense": float((s.frequency > dense_share).mean()),
        "cosine": s.cosine / s.examples,
        "relative_norm": s.relative_norm / max(s.nonzero, 1),
        "slope": s.product / s.energy if s.energy > 0 else float("nan"),
        "mean_activation": float(s.mean_activation[live].mean()) if live.any() else 0.0,
    }
