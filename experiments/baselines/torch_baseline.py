"""Train one of the benchmark's nets in PyTorch, and print its speed as JSON.

python experiments/baselines/torch_baseline.py conv [--compile] [--bfloat16] [--flush]
    [--data X.npy] [--images N] [--rounds N]
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def dense(*widths: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((784, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 784))


def conv(channels: int, features: int, padding: int = 1) -> nn.Module:
    return nn.Conv2d(channels, features, 3, padding=padding)


def down() -> list[nn.Module]:
    return [nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]


def up() -> list[nn.Module]:
    return [nn.ReLU(), nn.Upsample(scale_factor=2)]


class RNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(28, 100, batch_first=True)
        self.code = nn.LSTM(100, 30, batch_first=True)
        self.last = nn.LSTM(30, 100, batch_first=True)
        self.output = nn.Linear(100, 28)

    def forward(self, x: Tensor) -> Tensor:
        h, _ = self.first(x.flatten(2).view(-1, 28, 28))
        _, (z, _) = self.code(h)
        h, _ = self.last(z[0][:, None].expand(-1, 28, -1))
        return self.output(h)


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(784, 512), nn.Linear(2, 512)
        self.mean, self.logvar = nn.Linear(512, 2), nn.Linear(512, 2)
        self.output = nn.Linear(512, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.encoder(x.flatten(1)))
        mean, logvar = self.mean(h), self.logvar(h)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        return self.output(F.relu(self.decoder(z))), mean, logvar


NETS = {
    "simple": lambda: dense(32),
    "deep": lambda: dense(128, 64, 32, 64, 128),
    "hinton": lambda: dense(1000, 500, 250, 30, 250, 500, 1000),
    "vae": Variational,
    "conv": lambda: nn.Sequential(
        conv(1, 16),
        *down(),
        conv(16, 8),
        *down(),
        conv(8, 8),
        *down(),
        conv(8, 8),
        *up(),
        conv(8, 8),
        *up(),
        conv(8, 16, 0),
        *up(),
        conv(16, 1),
    ),
    "conv256": lambda: nn.Sequential(
        conv(1, 64),
        *down(),
        conv(64, 128),
        *down(),
        conv(128, 256),
        nn.ReLU(),
        conv(256, 128),
        *up(),
        conv(128, 64),
        *up(),
        conv(64, 1),
    ),
    "lstm": RNN,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("net", choices=NETS)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--flush", action="store_true", help="denormal numbers to 0, as XLA does")
    parser.add_argument("--data", help="uint8 images, [N, 28, 28, 1]; by default random ones")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_flush_denormal(options.flush)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.data:
        images = np.load(options.data, allow_pickle=False)[: options.images].reshape(-1, 1, 28, 28)
        x = torch.from_numpy(images).to(device).float() / 255
    else:
        x = torch.rand(options.images, 1, 28, 28, device=device)
    model = NETS[options.net]().to(device)
    if "conv" in options.net:
        layout = torch.channels_last
        model, x = model.to(memory_format=layout), x.to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def loss_of(batch: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=options.bfloat16):
            output = model(batch)
        if options.net == "vae":
            logits, mean, logvar = output
            nll = F.binary_cross_entropy_with_logits(logits, batch.flatten(1), reduction="sum")
            return (nll - 0.5 * (1 + logvar - mean**2 - logvar.exp()).sum()) / len(batch)
        return F.binary_cross_entropy_with_logits(output.float(), batch.view_as(output))

    if options.compile:
        loss_of = torch.compile(loss_of)
    steps = options.images // options.batch

    def epoch() -> float:
        order, total = torch.randperm(options.images, device=device), 0.0
        for i in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(x[order[i * options.batch : (i + 1) * options.batch]])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        return float(total) / steps

    began = time.perf_counter()
    epoch()
    first, speeds = time.perf_counter() - began, []
    for _ in range(options.rounds):
        began = time.perf_counter()
        epoch()
        speeds.append(steps * options.batch / (time.perf_counter() - began))
    median = statistics.median(speeds)
    result = {"images_per_second": round(median), "first_epoch_seconds": round(first, 2)}
    result |= {"epochs": [round(speed) for speed in speeds], "version": torch.__version__}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
