"""The closed table of experiments: a name on the command line -> its `Config`."""

from experiments.config import Config
from experiments.configs.canon import (
    contractive,
    conv,
    deep,
    denoise,
    few_labels,
    greedy,
    gru,
    hinton,
    lstm,
    one_class,
    overcomplete,
    simple,
    sparse,
    sparse_kl,
    stacked,
    tied,
)
from experiments.configs.variational import (
    digits,
    iwae,
    vae,
    vae2,
    vae_conv,
    vae_nll,
)

CONFIGS: dict[str, Config] = {
    "contractive": contractive.CONFIG,
    "conv": conv.CONFIG,
    "deep": deep.CONFIG,
    "denoise": denoise.CONFIG,
    "digits": digits.CONFIG,
    "few_labels": few_labels.CONFIG,
    "greedy": greedy.CONFIG,
    "gru": gru.CONFIG,
    "hinton": hinton.CONFIG,
    "iwae": iwae.CONFIG,
    "lstm": lstm.CONFIG,
    "one_class": one_class.CONFIG,
    "overcomplete": overcomplete.CONFIG,
    "simple": simple.CONFIG,
    "sparse": sparse.CONFIG,
    "sparse_kl": sparse_kl.CONFIG,
    "stacked": stacked.CONFIG,
    "tied": tied.CONFIG,
    "vae": vae.CONFIG,
    "vae2": vae2.CONFIG,
    "vae_conv": vae_conv.CONFIG,
    "vae_nll": vae_nll.CONFIG,
}
