"""Is this machine ready to train? ``python -m ae_jax.doctor``

Shows versions, devices, data sets, disks and extras, and trains for some seconds. Each problem is
printed with a remedy; the exit code is then 1. The network is never used.

Packages are imported inside functions, so that a missing or broken package can be reported.
"""

import math
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ae_jax.training import FitResult

EXTRAS = {  # extra -> the package that it installs, and its purpose
    "cuda": ("jax-cuda13-plugin", "NVIDIA GPUs"),
    "tpu": ("libtpu", "TPUs"),
    "tensorflow": ("tensorflow", "preparing TFDS sets other than mnist, fashion_mnist, cifar10"),
    "tensorboard": ("tensorboardX", "--track tensorboard"),
    "wandb": ("wandb", "--track wandb"),
    "mlflow": ("mlflow-skinny", "--track mlflow"),
    "trackio": ("trackio", "--track trackio"),
    "report": ("plotly", "pages about runs, experiments.report"),
    "umap": ("umap-learn", "figures of latents by UMAP"),
    "notebooks": ("jupytext", "opening and testing the notebooks"),
    "test": ("pytest", "running the tests"),
    "dev": ("ruff", "changing the code"),
}
FREE = 500e6
"""Bytes; with less free space on a disk, a run may fail."""
_NVIDIA = Path("/proc/driver/nvidia/version")


class Line(NamedTuple):
    """One line of the report; it is a problem if it has a `remedy`."""

    what: str
    state: str
    remedy: str = ""


def main() -> int:
    """Print the report and return the exit code."""
    console, problems = Console(), []
    for title, section in (
        ("versions", versions),
        ("devices", devices),
        ("data sets", data_sets),
        ("disk", disk),
        ("extras", extras),
        ("self-test", self_test),
    ):
        table = Table(title=title, title_justify="left", show_header=False)
        for line in _lines(title, section):
            style = "red" if line.remedy else None
            table.add_row(Text(line.what), Text(line.state), style=style)  # as text, not markup
            problems += [line] if line.remedy else []
        console.print(table)
    for what, state, remedy in problems:
        text = f"problem: {what}: {state}: {remedy}"
        console.print(text, style="red", highlight=False, soft_wrap=True, markup=False)
    if not problems:
        console.print("no problems")
    return 1 if problems else 0


def _lines(title: str, section: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """The lines of a section; an exception becomes one more line, a problem."""
    try:
        yield from section()
    except Exception as error:  # any exception: the report must name it
        reason = str(error).strip().splitlines() or [""]
        remedy = "fix that, or reinstall: pip install --force-reinstall -e ."
        if "home directory" in reason[0]:
            remedy = "set HOME to a folder of this user"
        yield Line(title, f"{type(error).__name__}: {reason[0]}".rstrip(": "), remedy)


def versions() -> Iterator[Line]:
    """Versions of Python and of the packages that ae_jax needs."""
    yield Line("python", platform.python_version())
    try:
        needed = [Requirement(text) for text in metadata.requires("ae_jax") or ()]
    except metadata.PackageNotFoundError:
        yield Line("ae_jax", "is not installed", "run pip install -e . in its folder")
        return
    yield Line("ae_jax", metadata.version("ae_jax"))
    yield Line("jaxlib", _version("jaxlib") or "missing")
    for requirement in needed:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version, remedy = _version(requirement.name), f"run pip install '{requirement}'"
        if version is None:
            yield Line(requirement.name, "missing", remedy)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Line(requirement.name, f"{version}, needs {requirement.specifier}", remedy)
        else:
            yield Line(requirement.name, version)


def devices() -> Iterator[Line]:
    """The devices of jax, with their memory."""
    import jax

    from ae_jax.devices.memory import device_bytes, size
    from ae_jax.devices.mesh import data_mesh
    from ae_jax.devices.names import device_name

    each = device_bytes(data_mesh())
    memory = "memory unknown" if each is None else f"{size(each)} each"
    yield Line(jax.default_backend(), f"{jax.device_count()} x {device_name()}, {memory}")
    yield Line("cores", f"{os.cpu_count()}")
    if _NVIDIA.exists() and jax.default_backend() == "cpu":
        remedy = "run pip install 'ae_jax[cuda]', or unset JAX_PLATFORMS=cpu"
        yield Line("GPU", "this machine has one, and jax does not use it", remedy)


def data_sets(root: Path | None = None) -> Iterator[Line]:
    """Data sets that `load` finds by name, and commands to prepare common ones that are missing."""
    from ae_jax.data import catalog
    from ae_jax.data.available import available

    root = root or catalog.data_root()
    yield Line("digits", "inside scikit-learn")
    names = set()
    try:
        for name, form, folder, splits in available(root):
            sizes = ", ".join(f"{split} {count:,}" for split, count in (splits or {}).items())
            names |= set(name.split("/")) if splits is None else {name}
            yield Line(name, f"{form} in {folder}{f' ({sizes})' if sizes else ''}")
    except (ValueError, OSError) as error:
        denied = isinstance(error, OSError)
        remedy = "check its permissions" if denied else "delete it and prepare it again"
        yield Line(f"sets in {root}", f"{error} (the search stopped there)", remedy)
        return
    for name in catalog.COMMON:
        if name not in names:
            yield Line(name, f"not in {root}: python -m ae_jax.data prepare {name}")


def disk() -> Iterator[Line]:
    """Free space on the disks of runs, data sets and caches."""
    import jax

    from ae_jax.data import catalog
    from ae_jax.data.cache import cache_dir
    from ae_jax.devices.compilation import compilation_cache_dir
    from ae_jax.devices.memory import size

    compiled = compilation_cache_dir()
    if "://" in compiled:
        yield Line("compiled programs", f"{compiled}: not on a disk of this machine")
        compiled = ""
    for what, folder, remedy in (
        ("runs", Path("runs"), "choose another run directory"),
        ("data sets", catalog.data_root(), "set AE_JAX_DATA to another folder"),
        ("decoded sets", cache_dir(), "set AE_JAX_CACHE to another folder"),
        ("compiled programs", compiled, "set JAX_COMPILATION_CACHE_DIR to another folder"),
    ):
        if folder == "":
            continue
        folder = Path(folder).absolute()
        parent = next(p for p in (folder, *folder.parents) if os.path.exists(p))
        free = shutil.disk_usage(parent).free
        used = f", {_used(folder)} used" if what != "data sets" and folder.is_dir() else ""
        text = f"{folder}: {size(free)} free{used}"
        if what == "compiled programs" and not jax.config.values["jax_enable_compilation_cache"]:
            text += ", turned off"
        if free < FREE:
            yield Line(what, text, f"less than {size(int(FREE))}: free some space, or {remedy}")
        elif what != "data sets" and not os.access(parent, os.W_OK):  # data sets are only read
            yield Line(what, f"{text}, cannot be written", remedy)
        else:
            yield Line(what, text)


def extras() -> Iterator[Line]:
    """Optional packages; a missing one is not a problem."""
    for extra, (package, purpose) in EXTRAS.items():
        version = _version(package)
        state = f"{package} {version}" if version else f"missing: pip install 'ae_jax[{extra}]'"
        yield Line(extra, f"{state} (for {purpose})")


def self_test(epochs: int = 25) -> Iterator[Line]:
    """Train a small model on the digits twice: the loss must fall, and the results must agree."""
    from ae_jax.data import load
    from ae_jax.devices.compilation import use_compilation_cache
    from ae_jax.models import Vanilla
    from ae_jax.networks import MLP
    from ae_jax.training import fit

    use_compilation_cache()
    data = load("digits", "train")
    ae = Vanilla(network=MLP(widths=(64,)), latent_dim=8).build(data["x"].shape[1:])
    first, second = (fit(ae, data, epochs=epochs, batch_size=64) for _ in range(2))
    yield from judge(first, second)


def judge(first: "FitResult", second: "FitResult") -> Iterator[Line]:
    """Compare two trainings with the same seed."""
    import jax
    import numpy as np

    begin, end = first.history[0]["loss"], first.history[-1]["loss"]
    losses = (
        f"loss {begin:.2f} -> {end:.2f} nats per pixel in {len(first.history)} epochs of the digits"
    )
    if not math.isfinite(end) or not end < 0.8 * begin:
        remedy = (
            "jax computes wrong results here: reinstall jax and jaxlib, both of the same version"
        )
        yield Line("training", losses, remedy)
    else:
        yield Line("training", losses)
    leaves = (jax.tree.leaves(result.state.params) for result in (first, second))
    pairs = zip(*leaves, strict=True)
    if all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs):
        yield Line("twice", "the same bits")
    elif jax.default_backend() == "cpu":
        yield Line(
            "twice",
            "other bits",
            "check the memory of this machine: a CPU must repeat results exactly",
        )
    else:
        yield Line("twice", "other bits, which is normal for sums on an accelerator")
    speeds = sorted(row["images_per_second"] for row in second.history)
    yield Line(
        "speed", f"{speeds[len(speeds) // 2]:,.0f} images/s (of a small net, not representative)"
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _used(folder: Path) -> str:
    """The size of all files under `folder`; links are not followed."""
    from ae_jax.devices.memory import size

    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except OSError:  # deleted meanwhile
                continue
    return size(total)


if __name__ == "__main__":
    sys.exit(main())
