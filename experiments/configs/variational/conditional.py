"""A conditional VAE of MNIST given the digit, 784-500-20.

python -m experiments.train conditional --run-dir runs/conditional

Two cores: about 1 minute, an estimate.
Expected: not measured yet.

Its figure of samples has one row for each digit. Other data sets with labels: --data.name digits;
other numbers of classes: --model.condition.classes 3.
"""

from ae_jax.models import Conditional
from experiments.config import Config, Data, Train

CONFIG = Config(model=Conditional(), data=Data(name="mnist"), train=Train(epochs=10))
