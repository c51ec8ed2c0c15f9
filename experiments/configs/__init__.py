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

CONFIGS: dict[str, Config] = {
    "contractive": contractive.CONFIG,
    "conv": conv.CONFIG,
    "deep": deep.CONFIG,
    "denoise": denoise.CONFIG,
    "digits": digits.CONFIG,
    "lstm": lstm.CONFIG,
    "simple": simple.CONFIG,
    "sparse": sparse.CONFIG,
    "stacked": stacked.CONFIG,
    "tied": tied.CONFIG,
    "vae": vae.CONFIG,
    "vae_conv": vae_conv.CONFIG,
}
