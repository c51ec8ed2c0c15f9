"""Write the model of a run to a folder to share: weights, configuration, card, programs for jax.

python -m experiments.export runs/vae2 shared/vae2
"""

import argparse
from collections.abc import Sequence

from ae_jax.storage.export import export
from experiments.cli import parse_all, run_main


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.export", description=__doc__, exit_on_error=False
    )
    parser.add_argument("run", help="a run directory")
    parser.add_argument("directory", help="the folder to make")
    parser.add_argument("--step", type=int, help="of the checkpoint; by default the newest")
    options = parse_all(parser, argv)
    folder = export(options.run, options.directory, options.step)
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    run_main(main)
