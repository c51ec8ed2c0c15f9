"""The generated parts of the pages: Markdown from measured results and the configurations."""

import ast
import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ae_jax.devices.memory import size
from experiments.benchmarks.collectives import Collective
from experiments.compile import Compiled, exchanges
from experiments.configs import CONFIGS
from experiments.reproduce import RESULTS
from experiments.reproductions import ROWS

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "experiments" / "benchmarks" / "measured.json"
COMPILED = BENCHMARKS.with_name("compiled.json")
STRESS = ROOT / "experiments" / "stress" / "measured.json"
MODEL = ROOT / "experiments" / "examples" / "my_model.py"


def bullets() -> str:
    """The five bullets of the README."""
    bench, promises = read(BENCHMARKS), read(STRESS)
    kept = {row["promise"]: row for row in promises["rows"]}
    over = {
        row["net"]: row["over"][0]
        for table in ("xeon-mnist", "xeon-random")
        for row in bench["tables"][table]["rows"]
    }
    slow, sharded = over.pop("lstm"), over.pop("lstm, 2 devices")
    reached, published = _reached()
    (many, one), (large, large_one) = (bench["sweep"][net][0] for net in ("simple", "vae"))
    return "\n".join(
        (
            f"- **Fast on a CPU.** It trains {len(over)} of 7 nets {min(over.values()):.2f} to "
            f"{max(over.values()):.2f} times as fast as the fastest of PyTorch, torch.compile "
            f"and Keras on two cores of an Intel Xeon, and the LSTM {slow:.2f} times "
            f"({sharded:.2f} on two simulated devices): "
            "[benchmarks](experiments/benchmarks/README.md).",
            f"- **Reproduced.** {reached} of {published} published results are reached or beaten: "
            "[results](experiments/results/README.md).",
            "- **Hard to kill.** A run that was killed at a random moment resumed to the same bits "
            f"in {_times(kept['resume'])} trials, and {_times(kept['kill'])} kills during saves "
            "lost no checkpoint: [stress tests](experiments/stress/README.md).",
            "- **Deterministic.** The same seed gave the same bits in two processes in "
            f"{_times(kept['determinism'])} trials, on a CPU.",
            f"- **Sweeps in one program.** {bench['sweep']['replicas']} seeds of 784-32-784 train "
            f"at {many:,} images/s together, one alone at {one:,}; seeds of a larger VAE lose "
            f"({large:,} and {large_one:,}).",
        )
    )


def _reached() -> tuple[int, int]:
    """How many rows reach the published result, and how many have one."""
    reached = published = 0
    for name, row in ROWS.items():
        numbers = [float(number) for number in re.findall(r"\d+\.\d+|\d+", row.published)]
        file = RESULTS / f"{name}.json"
        if not numbers or not file.exists():
            continue
        ours = mean(name)
        published += 1
        reached += ours >= max(numbers) if name in HIGH else ours <= numbers[0]
    return reached, published


HIGH = ("one-class", "few-labels")
"""Rows whose first metric is the better the higher it is."""


class Family(NamedTuple):
    """A line of the README's table of models."""

    name: str
    spec: str
    paper: str
    config: str
    row: str
    metric: str


FAMILIES = (
    Family("shallow", "`Vanilla(latent_dim=32)`", "Hinton & Salakhutdinov 2006", "simple",
           "simple", "cross-entropy per pixel"),
    Family("deep", "`Vanilla(network=MLP(...))`", "Hinton & Salakhutdinov 2006", "deep", "deep",
           "cross-entropy per pixel"),
    Family("deep, from RBMs", "`Vanilla`, `pretrain=\"rbm\"`", "Hinton & Salakhutdinov 2006",
           "hinton", "hinton", "squared error per image"),
    Family("tied", "`Tied`", "Vincent et al. 2010", "tied", "geron-tied",
           "squared error per pixel, Fashion-MNIST"),
    Family("convolutional", "`Convolutional`", "Masci et al. 2011", "conv", "conv",
           "cross-entropy per pixel"),
    Family("recurrent", "`Vanilla(network=RNN(...))`", "Hochreiter & Schmidhuber 1997", "lstm",
           "geron-lstm", "squared error per pixel, Fashion-MNIST"),
    Family("denoising", "`Denoising`", "Vincent et al. 2008", "denoise", "denoise",
           "error of the noisy image over that of the denoised one"),
    Family("sparse, L1", "`Sparse(penalty=\"l1\")`", "Keras blog 2016", "sparse", "sparse-l1",
           "cross-entropy per pixel"),
    Family("sparse, KL", "`Sparse(penalty=\"kl\")`", "Ng 2011", "sparse_kl", "geron-sparse-kl",
           "squared error per pixel, Fashion-MNIST"),
    Family("contractive", "`Contractive`", "Rifai et al. 2011", "contractive", "contractive",
           "cross-entropy per pixel"),
    Family("variational", "`Variational`", "Kingma & Welling 2014", "vae", "vae",
           "negative ELBO, nats"),
    Family("the same, -log p(x)", "`Variational(binarize=True)`", "Burda et al. 2016", "vae_nll",
           "vae-nll", "nats, 5000 importance samples"),
    Family("anomaly detector", "`Vanilla`", "Ruff et al. 2018 (compared)", "one_class",
           "one-class", "area under the ROC curve"),
)  # fmt: skip


def models() -> str:
    """The README's table of models."""
    lines = [
        "| family | spec | paper | configuration | test metric | ours | published |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for family in FAMILIES:
        row = ROWS[family.row]
        published = "" if row.published == "-" else f"{row.published} ({row.source})"
        config = f"[`{family.config}`]({_file(family.config).relative_to(ROOT)})"
        cells = [family.name, family.spec, family.paper, config, family.metric]
        measured = (RESULTS / f"{family.row}.json").exists()
        ours = f"**{mean(family.row):#.4g}**" if measured else ""
        lines.append("| " + " | ".join([*cells, ours, published]) + " |")
    return "\n".join(lines)


TASKS = {
    "reduce dimensions": (
        "`Vanilla`", "hinton",
        "squared error {hinton} per image of MNIST with 30 latents; PCA {pca}",
    ),
    "find anomalies": (
        "`Vanilla`", "one_class",
        "area under the ROC curve {one-class} on MNIST, the mean over ten normal digits",
    ),
    "denoise": (
        "`Denoising`", "denoise",
        "the squared error of noisy digits is {denoise} times that of their reconstructions",
    ),
    "generate": ("`Variational`", "vae", "negative ELBO {vae} nats on MNIST"),
    "learn features": (
        "`Denoising`", "few_labels",
        "accuracy {few-labels} on Fashion-MNIST from 500 labels; from scratch {few-labels:scratch}",
    ),
}  # fmt: skip


def tasks() -> str:
    """The table of "which autoencoder?"."""
    lines = ["| task | specification | configuration | reached |", "| --- | --- | --- | --- |"]
    for task, (spec, config, text) in TASKS.items():
        reached = re.sub(r"{([\w-]+):?(\w*)}", lambda m: f"{mean(m[1], m[2]):#.4g}", text)
        link = f"[`{config}`](../../{_file(config).relative_to(ROOT)})"
        lines.append(f"| {task} | {spec} | {link} | {reached} |")
    lines.append("| compress to tokens | planned |  |  |")
    link = f"[`dictionary`](../../{_file('dictionary').relative_to(ROOT)})"
    lines.append(f"| interpret activations | `Dictionary` | {link} | |")
    return "\n".join(lines)


def sizes() -> str:
    """Nets beside PCA at some sizes of the latent."""

    def over(data: str, net: str, size: int) -> str:
        errors = (mean("dense-vs-conv", f"{data} {who} {size}") for who in (net, "PCA"))
        return f"{next(errors) / next(errors):.2f}"

    text = (
        "Test squared error on MNIST over that of PCA: the dense net of the size table "
        f"{over('mnist', 'dense', 2)} with 2 latents and {over('mnist', 'dense', 32)} with 32, the "
        f"convolutional net {over('mnist', 'conv', 2)} and {over('mnist', 'conv', 32)}. On "
        f"CIFAR-10 with 128 latents it is {over('cifar10', 'dense', 128)} and "
        f"{over('cifar10', 'conv', 128)}: after that short training PCA is better."
    )
    return "\n".join(textwrap.wrap(text, 100))


def my_model() -> str:
    return f"```python\n{MODEL.read_text()}```"


def configurations() -> str:
    """A table of all configurations from their docstrings."""
    lines = ["| configuration | model | time on two cores | expected |"]
    lines += ["| --- | --- | --- | --- |"]
    for name in CONFIGS:
        told = docstring(name)
        link = f"[`{name}`]({_file(name).relative_to(ROOT / 'experiments')})"
        lines.append(f"| {link} | {told.title} | {told.time} | {told.expected} |")
    return "\n".join(lines)


class Told(NamedTuple):
    """What the docstring of a configuration says."""

    title: str
    command: str
    time: str
    expected: str


def docstring(config: str) -> Told:
    """The parts of a configuration's docstring; `ValueError` if one of them is not there."""
    text = ast.get_docstring(ast.parse(_file(config).read_text())) or ""
    title = " ".join(text.partition("\n\n")[0].split()).removesuffix(".")
    found = [title, *(_labeled(text, label) for label in ("python -m", "Two cores:", "Expected:"))]
    if not all(found):
        raise ValueError(f"the docstring of {config} needs a title, a command, its time and metric")
    return Told(*found)


def _labeled(text: str, label: str) -> str:
    """The line that begins with `label`, and those until an empty one or the next label."""
    match = re.search(rf"^{label} ((?:(?!Expected:|python -m).+\n?)+)", text, re.MULTILINE)
    return " ".join(match[1].split()).removesuffix(".") if match else ""


def _file(config: str) -> Path:
    return next((ROOT / "experiments" / "configs").glob(f"*/{config}.py"))


def benchmarks() -> str:
    """Every table of the benchmark page."""
    parts = []
    for table in read(BENCHMARKS)["tables"].values():
        parts.append(f"### {table['title']}\n\n```\n{table['command']}\n```")
        parts.append(f"{table['note']}\n\n{_speed_table(table['rows'])}")
    return "\n\n".join(parts)


def _speed_table(rows: list[dict[str, Any]]) -> str:
    who = list(dict.fromkeys(name for row in rows for name in row["speeds"]))
    ratios = [name for name in ("over", "over flushed") if any(name in row for row in rows)]
    titles = {"over": "ours over the fastest", "over flushed": "ours over flushed"}
    compiles = any("compile" in row for row in rows)
    names = ["net", *who, *(["our compile time"] if compiles else [])]
    lines = ["| " + " | ".join([*names, *(titles[name] for name in ratios)]) + " |"]
    lines += ["| --- " * (len(names) + len(ratios)) + "|"]
    for row in rows:
        cells = [row["net"], *(_speed(row, name) for name in who)]
        cells += [f"{row['compile']} s" if "compile" in row else ""] if compiles else []
        cells += [_ratio(row.get(name)) for name in ratios]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _speed(row: dict[str, Any], who: str) -> str:
    if who not in row["speeds"]:
        return ""
    text = f"{row['speeds'][who]:,}"
    return f"({text})" if who in row.get("once", ()) else text


def _ratio(ratio: Sequence[float] | None) -> str:
    if ratio is None:
        return ""
    median, least, most = ratio
    return f"**{median:.2f}** ({least:.2f} to {most:.2f})"


def compiled() -> str:
    """The programs for devices that were not there, and what the devices of the first exchange."""
    data = read(COMPILED)
    programs = [
        (each.pop("what"), Compiled(**each | {"collectives": _collectives(each)}))
        for each in data["programs"]
    ]
    lines = [f"```\n{data['command']}\n```\n\n{data['versions']}. Bytes are of one device.\n"]
    lines += ["| program | for | data x model | arguments | temporary | peak | of a device's |"]
    lines += ["| --- " * 7 + "|"]
    for what, one in programs:
        cells = [what, f"`{one.target}`", f"{one.data} x {one.model}", size(one.arguments)]
        used = ["does not fit", ""] if one.error else [size(one.temporary), size(one.peak)]
        cells += [*used, size(one.memory)]
        lines.append("| " + " | ".join(cells) + " |")
    what, first = programs[0]
    lines.append(f"\nExchanged in a step of the first, {what} for `{first.target}`:\n")
    lines += ["| collective | result on a device | bytes | times |", "| --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(cells) + " |" for cells in exchanges(first)]
    return "\n".join(lines)


def _collectives(program: dict[str, Any]) -> tuple[Collective, ...]:
    return tuple(Collective(**one) for one in program["collectives"])


def others() -> str:
    """The other measurements of the benchmark page."""
    lines = ["| what | ours | beside it |", "| --- | --- | --- |"]
    measured = read(BENCHMARKS)
    lines += ["| " + " | ".join(row) + " |" for row in measured["others"]]
    for net in ("simple", "vae"):
        pairs = list(zip(*measured["sweep"][net], strict=True))
        many, one = (" and ".join(f"{speed:,}" for speed in speeds) for speeds in pairs)
        what = f"{measured['sweep']['replicas']} seeds of {net} in one program, two readings"
        lines.append(f"| {what} | {many} images/s | one seed alone: {one} images/s |")
    return "\n".join(lines)


def stress() -> str:
    """The table of promises."""
    lines = ["| name | promise | kept |", "| --- | --- | --- |"]
    for row in read(STRESS)["rows"]:
        kept = row.get("shown") or _times(row)
        lines.append(f"| `{row['promise']}` | {row['what']} | {kept} |")
    return "\n".join(lines)


def _times(row: dict[str, Any]) -> str:
    return f"{row['kept']:,} of {row['of']:,}"


def mean(row: str, metric: str = "") -> float:
    """A metric of a row, by default the first: its mean over the seeds."""
    metrics = read(RESULTS / f"{row}.json")["metrics"]
    values = metrics[metric or next(iter(metrics))]
    return sum(values) / len(values)


def read(path: Path) -> Any:
    return json.loads(path.read_text())
