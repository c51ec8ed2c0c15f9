"""Shared set-up: four CPU devices (for the parallel tests), and where the real data is."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of prepared TFDS data sets (MNIST, CIFAR-10); skips where there is none."""
    default = Path(__file__).parents[2] / "shared" / "data" / "tfds"
    folder = Path(os.environ.get("AE_JAX_DATA", default))
    if not (folder / "mnist").is_dir():
        pytest.skip("no real data: set AE_JAX_DATA to a folder with TFDS's mnist")
    return folder
