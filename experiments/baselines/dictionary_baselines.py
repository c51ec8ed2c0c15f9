"""Train the benchmark's TopK dictionaries with other libraries, and print the speed as JSON.

python dictionary_baselines.py dictionary torch
python dictionary_baselines.py dictionary sae-lens     (pip install sae-lens)
python dictionary_baselines.py dictionary sparsify     (pip install eai-sparsify)

All take the same step: a TopK encoder, its decoder with rows of norm 1, and Adam. torch is the step
that one writes first, with dense products; the others are the libraries' own.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor, nn

WIDTHS = {"dictionary": 4096, "dictionary-16k": 16_384, "dictionary-64k": 65_536}
DIM, K, RATE = 768, 25, 1e-3
Step = Callable[[Tensor], None]


class TopK(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        rows = nn.functional.normalize(torch.randn(width, DIM), dim=1)
        self.encoder, self.decoder = nn.Parameter(rows.clone()), nn.Parameter(rows)
        self.encoder_bias = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(DIM))

    def forward(self, x: Tensor) -> Tensor:
        pre = (x - self.bias) @ self.encoder.T + self.encoder_bias
        values, indices = pre.topk(K, dim=1)
        z = torch.zeros_like(pre).scatter(1, indices, values.relu())
        return z @ self.decoder + self.bias


def dense(width: int, batch: int) -> Step:
    model = TopK(width)
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)

    def step(x: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        (model(x) - x).square().sum(1).mean().backward()
        with torch.no_grad():
            rows, gradient = model.decoder, model.decoder.grad
            gradient -= (gradient * rows).sum(1, keepdim=True) * rows
            optimizer.step()
            rows /= rows.norm(dim=1, keepdim=True)

    return step


def sae_lens(width: int, batch: int) -> Step:
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=DIM, d_sae=width, k=K, device="cpu"))
    settings = SAETrainerConfig(
        total_training_samples=10**9,
        train_batch_size_samples=batch,
        lr=RATE,
        lr_end=RATE,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer = SAETrainer(settings, sae, iter(()))

    def step(x: Tensor) -> None:
        trainer.step(x)
        trainer.n_training_steps += 1

    return step


def sparsify(width: int, batch: int) -> Step:
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder

    model = SparseCoder(DIM, SparseCoderConfig(num_latents=width, k=K))
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    idle = torch.zeros(width, dtype=torch.long)

    def step(x: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        out = model(x, dead_mask=idle > 10_000_000)
        (out.fvu + out.auxk_loss / 32).backward()
        model.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        model.set_decoder_norm_to_unit_norm()
        idle.add_(len(x))
        idle[out.latent_indices.flatten()] = 0

    return step


PEERS = {"torch": (dense, "torch"), "sae-lens": (sae_lens, "sae-lens")}
PEERS["sparsify"] = (sparsify, "eai-sparsify")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("net", choices=WIDTHS)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--images", type=int, default=10_240, help="examples per epoch")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    make, package = PEERS[options.peer]
    with contextlib.redirect_stdout(sys.stderr):
        step = make(WIDTHS[options.net], options.batch)
    x = torch.randn(options.images, DIM)
    steps = options.images // options.batch

    def epoch() -> float:
        began, order = time.perf_counter(), torch.randperm(options.images)
        for i in range(steps):
            step(x[order[i * options.batch : (i + 1) * options.batch]])
        return time.perf_counter() - began

    with contextlib.redirect_stdout(sys.stderr):
        first, *rest = [epoch() for _ in range(1 + options.rounds)]
    speeds = [steps * options.batch / seconds for seconds in rest]
    result = {"images_per_second": round(statistics.median(speeds))}
    result |= {"first_epoch_seconds": round(first, 2)}
    result |= {"epochs": [round(speed) for speed in speeds], "version": version(package)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
