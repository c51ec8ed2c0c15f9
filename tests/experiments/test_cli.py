"""What a script answers to a command line that it cannot take."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import tyro

from ae_jax.bottlenecks import Gaussian
from ae_jax.likelihoods import DiscretizedLogisticMixture, Poisson
from ae_jax.models import AE, ImportanceWeighted, Vanilla
from ae_jax.networks import ConvNet
from experiments.cli import as_flags, parse, parse_options
from experiments.config import Config


@dataclass(frozen=True, kw_only=True)
class Options:
    run: Annotated[str, tyro.conf.Positional]
    step: int | None = None
    every: bool = False


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a", "b"], "Unrecognized options: b.*: see --help"),
        (["a", "--stp", "3"], "Unrecognized options: --stp.*: did you mean --step"),
        (["a", "--step", "x"], "--step.*x"),
        ([], "Missing from test: STR run"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(args, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_options(args, Options, prog="test", about="")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("batch_size=64: larger than the data", "--train.batch-size 64: larger than the data"),
        (
            "use batch_size=8, or accumulate= to",
            "use --train.batch-size 8, or --train.accumulate to",
        ),
        ("continue it with resume=True", "continue it with --resume RUN"),
        ("(allow_changes=True resumes anyway)", "(--allow-changes resumes anyway)"),
        ("decode='always' of a set", "--data.decode always of a set"),
        ("train.epochs=0: must be", "train.epochs=0: must be"),
        ("the batches of the data", "the batches of the data"),
    ],
)
def test_messages_of_the_library_name_flags(library, command):
    assert as_flags(library) == command


CONFIGS = {"iwae": Config(model=ImportanceWeighted(samples=7))}


def parsed(*args):
    return parse(args, CONFIGS, default="iwae", prog="test", about="")[1].model


def test_a_part_may_be_of_another_kind():
    """Its own options are then known, and all others stay."""
    assert parsed("--model.likelihood.kind=poisson") == ImportanceWeighted(
        samples=7, likelihood=Poisson()
    )
    args = "--model.network.kind convnet --model.likelihood.kind discretized_logistic_mixture"
    options = "--model.network.filters 3 4 --model.likelihood.components 2 --model.latent-dim 9"
    assert parsed(*options.split(), *args.split()) == ImportanceWeighted(
        samples=7,
        latent_dim=9,
        network=ConvNet(filters=(3, 4)),
        likelihood=DiscretizedLogisticMixture(components=2),
    )
    assert parsed("--model.kind", "vanilla", "--model.loss", "mse") == Vanilla(loss="mse")
    args = "--model.kind ae --model.bottleneck.kind gaussian --model.likelihood.kind poisson"
    assert parsed(*args.split()) == AE(bottleneck=Gaussian(), likelihood=Poisson())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--model.likelihood.kind poison", "likelihood.kind='poison': did you mean 'poisson'"),
        ("--model.likelihood.kind", "likelihood.kind='': known: bernoulli"),
        ("--model.likelihod.kind poisson", "Unrecognized options: --model.likelihod.kind"),
        ("--kind poisson", "Unrecognized options: --kind"),
    ],
)
def test_kinds_that_do_not_exist(args, message):
    with pytest.raises(ValueError, match=message) as caught:
        parsed(*args.split())
    assert "\n" not in str(caught.value)
