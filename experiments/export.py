"""Write the model of a run to a folder to share: weights, configuration, card, programs for jax.

python -m experiments.export runs/vae2 shared/vae2
python -m experiments.export my_config.py runs/mine shared/mine       a model of one's own
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from ae_jax import export
from experiments.cli import parse_options, run_main
from experiments.user_file import split_models


@dataclass(frozen=True, kw_only=True)
class Options:
    run: Annotated[str, tyro.conf.Positional]
    """A run directory."""
    directory: Annotated[str, tyro.conf.Positional]
    """The folder to make."""
    step: int | None = None
    """Of the checkpoint; by default the newest."""


def main(argv: Sequence[str]) -> None:
    models, argv = split_models(argv)
    options = parse_options(argv, Options, prog="python -m experiments.export", about=__doc__)
    folder = export(options.run, options.directory, options.step, models=models)
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    run_main(main)
