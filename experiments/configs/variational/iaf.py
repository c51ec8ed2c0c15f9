"""VAE with an inverse autoregressive flow as its posterior, on static binarized MNIST.

python -m experiments.train iaf --data.dir STATIC_MNIST --run-dir runs/iaf

Two cores: about 27 minutes, beside other work.
Expected: -log p(x) of 90.57 nats per test image, by 128 samples, and a negative ELBO of 95.18.

The net is that of mean_field. Source: Kingma et al., Improved variational inference with inverse
autoregressive flow, 2016.
"""

from ae_jax.bottlenecks import FlowPosterior
from ae_jax.likelihoods import Bernoulli
from ae_jax.models import AE
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=AE(
        network=MLP(widths=(256, 256)),
        bottleneck=FlowPosterior(latent_dim=128, flow="iaf", widths=(256,)),
        likelihood=Bernoulli(),
    ),
    data=Data(name="static_mnist"),
    train=Train(epochs=20, batch_size=250, learning_rate=0.02, schedule="cosine", optimizer="muon"),
)
