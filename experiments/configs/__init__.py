"""The closed table of experiments: a name on the command line -> its `Config`."""

from experiments.config import Config
from experiments.configs import conv, deep, digits, simple, vae, vae_conv

CONFIGS: dict[str, Config] = {
    module.__name__.rpartition(".")[2]: module.CONFIG
    for module in (conv, deep, digits, simple, vae, vae_conv)
}
