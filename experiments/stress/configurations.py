"""The promise that a wrong configuration is refused in one line, before anything is compiled."""

import contextlib
import io
import random
import shlex
from collections.abc import Iterator
from pathlib import Path

import jax

from experiments.cli import one_line_errors
from experiments.train import main

WRONG = """
vea
simpel
simple simple
digits mnist
digit
--train.epoch 3
--train.epochs x
--train.epochs 1.5
--train.epochs 0
--train.epochs -1
--train.epochs
--train.epochs 10**3
--train.epochs 1e3
--epochs 3
--train.batch-size 0
--train.batch-size -5
--train.batch-size 5000
--train.batch-size all
--train.batch-size 1438
--train.batchsize 3
--train.learning-rate 0
--train.learning-rate -1e-3
--train.learning-rate nan
--train.learning-rate inf
--train.learning-rate 1e4
--train.learning-rate fast
--train.lr 1e-3
--train.optimizer Adam
--train.optimizer adamax
--train.optimizer 3
--train.optimizr adam
--train.schedule linear
--train.schedule cos
--train.warmup -0.1
--train.warmup 1.0
--train.warmup 10
--train.warmup nan
--train.pretrain RBM
--train.pretrain rmb
--train.pretrain layerwise
--train.pretrain greedy
--train.pretrain rbm
--train.pretrain-epochs 0
--train.pretrain-epochs ten
--train.dtype float16
--train.dtype bf16
--train.dtype double
--train.accumulate 0
--train.accumulate -2
--train.accumulate 40
--train.accumulate 1.5
--train.stream maybe
--train.ema-decay 1.0
--train.ema-decay -0.1
--train.ema-decay nan
--train.ema-decay 2
--train.max-skips -1
--train.max-skips some
--train.log-every 0
--train.log-every often
--train.checkpoint-every 0
--train.checkpoint-every -3
--model.latent-dim 0
--model.latent-dim -1
--model.latent-dim 2.5
--model.latent-dim two
--model.codesize 2
--model.beta -1
--model.beta nan
--model.beta inf
--model.betta 1
--model.free-bits -1
--model.free-bits nan
--model.warmup-steps -1
--model.likelihood bernouli
--model.likelihood normal
--model.variance 0
--model.variance -2
--model.network.widths 0
--model.network.widths 10 -3
--model.network.widths ten
--model.network.activation rellu
--model.network.activation os.system
--model.network.kernel 3
--model vanilla
--seed -1
--seed 4294967296
--seed 1.5
--seed random
--data.name mnits
--data.name nowhere.npz
--data.name ./nowhere
--data.name ""
--data.name mnist --data.dir nowhere
--data.decode twice
--data.decode always
--data.nmae digits
--devices -1
--devices two
--devices 1000000
--resume nowhere
--resume
simple --resume nowhere
--run-dir
--coordinator localhost
--coordinator localhost:1
--num-processes 2
--process-id 0
--timeout 0
--distributed --coordinator localhost:1
denoise --model.level -1
denoise --model.noise white
sparse --model.target 1.5 --model.penalty kl
sparse --model.weight -1
contractive --model.weight nan
contractive --model.probes 0
conv --model.network.kernel 0
conv --model.network.filters 0
conv --model.network.down max
lstm --data.name digits --model.network.cell rnn
tied --model.network.decoder-widths 3
deep --train.pretrain rbm --model.network.decoder-widths 7 7
hinton --data.decode always
""".strip().splitlines()


def configurations(folder: Path, rng: random.Random) -> Iterator[str | None]:
    """Wrong types, ranges, names and contradictions: exit code 2, one line, no compilation."""
    del rng
    compiled: list[str] = []

    def note(event: str, duration_secs: float, **about: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(str(about.get("fun_name")))

    with contextlib.chdir(folder):
        while True:
            for line in WRONG:
                compiled.clear()
                jax.monitoring.register_event_duration_secs_listener(note)
                code, said = run(line)
                jax.monitoring.unregister_event_duration_listener(note)
                if code != 2 or said.count("\n") != 1 or not said.startswith("error: "):
                    yield f"{line}: exit code {code}, {said!r}"
                elif written := [path.name for path in folder.iterdir()]:
                    yield f"{line}: wrote {written}"
                elif compiled:
                    yield f"{line}: compiled {compiled}"
                else:
                    yield None


def run(line: str) -> tuple[object, str]:
    """The exit code and the output on stderr of one command line."""
    errors = io.StringIO()
    try:
        with (
            contextlib.redirect_stderr(errors),
            contextlib.redirect_stdout(io.StringIO()),
            one_line_errors(),
        ):
            main(shlex.split(line))
    except SystemExit as stop:
        return stop.code, errors.getvalue()
    except Exception as error:
        return None, repr(error)
    return 0, errors.getvalue()
