"""Train a classifier whose features are used for FID and KID, and store it in the package.

python -m experiments.train_features mnist --epochs 5
python -m experiments.train_features cifar10 --epochs 4
python -m experiments.train_features fashion_mnist --folder FOLDER     of raw idx .gz files

Copy the printed test accuracy, which is that of the stored weights, to the table in
`ae_jax.evaluation.classifiers`. Training takes minutes on a CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import numpy as np
import optax
import tyro
from jax import Array
from safetensors.numpy import save_file

from ae_jax import fit
from ae_jax.core import Autoencoder, Batch, by_path
from ae_jax.data import load
from ae_jax.data.memory import steps_per_epoch
from ae_jax.evaluation.batches import in_batches
from ae_jax.evaluation.classifiers import (
    CLASSES,
    CLASSIFIERS,
    WEIGHTS,
    build_classifier,
    load_classifier,
)
from ae_jax.pretraining.classify import accuracy, labeled
from experiments.cli import parse_options, run_main

EXAMPLES = 10_000  # for the scale of the features


@dataclass(frozen=True, kw_only=True)
class Options:
    data: Annotated[Literal["mnist", "fashion_mnist", "cifar10"], tyro.conf.Positional]
    folder: str | None = None
    """The folder of raw idx files, if the data set is not prepared."""
    epochs: int = 8
    batch_size: int = 128
    learning_rate: float = 2e-3
    seed: int = 0


def main(argv: Sequence[str]) -> None:
    options = parse_options(
        argv, Options, prog="python -m experiments.train_features", about=__doc__
    )
    source, name = options.folder or options.data, f"{options.data}-conv-64"
    train, test = (labeled(load(source, split), CLASSES) for split in ("train", "test"))
    if options.data == "cifar10":  # mirrored digits and clothes would be others
        mirrored = {"x": train["x"][:, :, ::-1], "label": train["label"]}
        train = {key: np.concatenate([train[key], mirrored[key]]) for key in mirrored}
    model = build_classifier(CLASSIFIERS[name].event_shape)
    steps = options.epochs * steps_per_epoch(len(train["x"]), options.batch_size)
    state, history = fit(
        model,
        train,
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer=optax.adam(optax.cosine_decay_schedule(options.learning_rate, steps)),
        seed=options.seed,
    )
    WEIGHTS.mkdir(exist_ok=True)
    file = WEIGHTS / f"{name}.safetensors"
    weights = by_path({"params": with_unit_features(model, state.params, train["x"][:EXAMPLES])})
    save_file({path: np.asarray(a, np.float16) for path, a in weights.items()}, file)
    print(f"{file}: {file.stat().st_size} bytes")
    model, variables = load_classifier(name)
    state = state.replace(params=variables["params"])
    print(f"training accuracy {history[-1]['accuracy']:.4f}")
    print(f"test accuracy {accuracy(model, state, test):.4f}")


def with_unit_features(model: Autoencoder, params: Any, x: np.ndarray) -> Any:
    """`params` of an equal classifier with features of mean square 1 over the images `x`."""

    def encode(params: Any, batch: Batch) -> Array:
        return model.encode({"params": params}, batch["x"])

    scale = float(np.sqrt(np.square(in_batches(encode, params, {"x": x})).mean()))
    code, head = params["inner"]["code"], params["head"]
    code = jax.tree.map(lambda a: a / scale, code)  # ReLU(a / scale) = ReLU(a) / scale
    head = {**head, "kernel": head["kernel"] * scale}
    return {"inner": {**params["inner"], "code": code}, "head": head}


if __name__ == "__main__":
    run_main(main)
