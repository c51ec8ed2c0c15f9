"""The closed table of experiments: a name on the command line -> its `Config`."""

from experiments.config import Config
from experiments.configs import (
    contractive,
    conv,
    deep,
    denoise,
    digits,
    lstm,
    simple,
    sparse,
    stacked,
    tied,
    vae,
    vae_conv,
)

_MODULES = (
    contractive,
    conv,
    deep,
    denoise,
    digits,
    lstm,
    simple,
    sparse,
    stacked,
    tied,
    vae,
    vae_conv,
)

CONFIGS: dict[str, Config] = {
    module.__name__.rpartition(".")[2]: module.CONFIG for module in _MODULES
}
