"""Train one of the benchmark's variational nets with pythae's trainer, and print its speed as JSON.

python experiments/baselines/pythae_baseline.py vae16 [--data X.npy] [--images N] [--rounds N]
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback

SIZES: dict[str, Any] = {
    "input_dim": (1, 28, 28),
    "latent_dim": 16,
    "reconstruction_loss": "bce",
}
NETS = {  # pythae's default nets, 784-512-16
    "vae16": lambda: VAE(VAEConfig(**SIZES)),
    "iwae5": lambda: IWAE(IWAEConfig(**SIZES, number_samples=5)),
}


class Clock(TrainingCallback):
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.began = 0.0

    def on_epoch_begin(self, training_config: Any, **others: Any) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, training_config: Any, **others: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("net", choices=NETS)
    parser.add_argument("--data", help="uint8 images, [N, 28, 28, 1]; by default random ones")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.data:
        images = np.load(options.data, allow_pickle=False)[: options.images]
        x = torch.from_numpy(images.reshape(-1, 1, 28, 28)).float() / 255
    else:
        x = torch.rand(options.images, 1, 28, 28)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=1 + options.rounds,
            learning_rate=1e-3,
            per_device_train_batch_size=options.batch,
        )
        data = BaseDataset(x, torch.zeros(len(x)))
        trainer = BaseTrainer(
            NETS[options.net](), train_dataset=data, training_config=settings, callbacks=[clock]
        )
        trainer.train()
    first, *rest = clock.seconds
    speeds = [options.images / seconds for seconds in rest]
    result = {"images_per_second": round(statistics.median(speeds))}
    result |= {"first_epoch_seconds": round(first, 2)}
    result |= {"epochs": [round(speed) for speed in speeds], "version": version("pythae")}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
