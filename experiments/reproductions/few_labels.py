"""A classifier from 500 labels, with a pretrained encoder and from scratch."""

import numpy as np

from ae_jax.pretraining import accuracy, classifier, with_encoder
from ae_jax.training import fit
from experiments.configs import CONFIGS
from experiments.reproductions.setup import Metrics, Row, Setup

LABELS = 500
CLASSES = 10


def _few_labels(setup: Setup, name: str, seed: int) -> Metrics:
    """Test accuracies. Each seed has its own encoder and its own labeled images."""
    ae, state, last = setup.train(name, CONFIGS["few_labels"], seed)
    train, test = setup.data("fashion_mnist", "train"), last["test"]
    rows = np.random.default_rng(seed).permutation(len(train["x"]))[:LABELS]
    few = {key: value[rows] for key, value in train.items()}
    metrics = {}
    for case in ("fine-tuned", "scratch", "frozen"):
        model = classifier(ae, CLASSES, frozen=case == "frozen")
        params = None if case == "scratch" else with_encoder(model, state.params, seed=seed)
        trained, _ = fit(
            model,
            few,
            epochs=1 if setup.quick else 100,
            batch_size=50,
            seed=seed,
            params=params,
        )
        metrics[case] = accuracy(model, trained, test)
    metrics["gain"] = metrics["fine-tuned"] - metrics["scratch"]
    return metrics


ROWS = {
    "few-labels": Row(
        "Fashion-MNIST, 500 labels, encoder pretrained on all images: test accuracy",
        published="-",
        source="-",
        reach="above scratch",
        run=_few_labels,
        seeds=5,
    ),
}
