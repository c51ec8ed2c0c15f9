"""Models to share: weights, configuration and card in one folder that cannot run code when loaded.

    DIR/model.safetensors   parameters (averaged ones if there are) and untrained collections
        config.json         the model specification
        README.md           the model card: data, figures, versions
        encode.stablehlo, decode.stablehlo, reconstruct.stablehlo
        manifest.json       SHA-256 of each (see `ae_jax.storage.manifest`)

The .stablehlo files are `jax.export` artifacts with the weights inside, for programs that have jax
and not this package; `load_exported` does not read them:

    encode = jax.export.deserialize(bytearray(open("DIR/encode.stablehlo", "rb").read()))
    z = encode.call(x)  # float32 [B, *event_shape], any B
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ae_jax.core import Autoencoder, Variables, by_path
from ae_jax.files import finite, read_json, require_regular
from ae_jax.storage.manifest import DamagedError, verify, write_manifest
from ae_jax.storage.runs import Run, build_model, load_run

FORMAT = 2
PLATFORMS = ("cpu", "cuda", "tpu")


class Exported(NamedTuple):
    """Ready to use: ``ae.encode(variables, x)``, ``ae.decode(variables, z)``."""

    ae: Autoencoder
    variables: Variables
    config: dict[str, Any]


def export(run_dir: str | Path, directory: str | Path, step: int | None = None) -> Path:
    """Write the model of a run (of `step`, or its newest checkpoint) to a new folder.

    Raises `ValueError` as `load_run` does, or if `directory` is there and not empty, and `OSError`.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} exists and is not empty: choose another")
    ae, state, config = load_run(run_dir, step)
    variables = jax.device_get(state.variables)
    described: dict[str, Any] = {"format": FORMAT, "step": int(state.step)}
    described |= {name: config.get(name) for name in ("model", "event_shape")}
    described["dtype"] = str(jnp.dtype(ae.dtype))
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".tmp", directory.name, directory.parent) as temporary:
        folder = Path(temporary, directory.name)
        folder.mkdir()
        weights = {k: np.ascontiguousarray(v) for k, v in by_path(variables).items()}
        save_file(weights, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n")
        (folder / "README.md").write_text(_card(Run.open(run_dir), directory.name, described))
        for name, artifact in _artifacts(ae, variables).items():
            (folder / f"{name}.stablehlo").write_bytes(artifact)
        write_manifest(folder, {})
        if directory.exists():
            directory.rmdir()
        shutil.move(folder, directory)
    return directory


def load_exported(directory: str | Path) -> Exported:
    """The model in a folder that `export` wrote, whoever it came from.

    Every file is compared with the manifest, the model is built from the closed table of models,
    and names, shapes and dtypes of the weights are compared with it before they are read.

    Raises `ValueError`, one line, for a folder that is damaged, of a newer format, or not a model.
    """
    folder = Path(directory)
    if not (folder / "manifest.json").is_file():
        raise ValueError(f"{folder} is not an exported model: it has no manifest.json")
    verify(folder)
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise ValueError(f"{folder / 'config.json'} is not the configuration of a model")
    if config.get("format") != FORMAT:
        raise ValueError(
            f"{folder / 'config.json'} has format {config.get('format')!r}, and this version of "
            f"ae_jax reads {FORMAT}: read it with the version that wrote it"
        )
    ae = build_model(config, str(folder / "config.json"))
    x = jax.ShapeDtypeStruct((1, *ae.event_shape), jnp.float32)
    wanted = jax.eval_shape(ae.module.init, jax.random.key(0), x)
    return Exported(ae, read_weights(folder / "model.safetensors", wanted), config)


def read_weights(path: Path, wanted: Any, *, stored: str = "F32") -> Any:
    """The arrays in a safetensors file, all `stored` in this type, as the tree `wanted`.

    Raises `ValueError`, one line, for other names, types or shapes than that, and for damage.
    """
    shapes, leaves = by_path(wanted), []
    try:
        require_regular(path)
        with safe_open(path, framework="numpy") as file:
            for name in sorted(file.keys() ^ shapes.keys()):
                side = "file" if name in file.keys() else "model"  # noqa: SIM118 (not a dict)
                raise ValueError(f"{path}: only the {side} has {name}")
            for name, want in shapes.items():
                there = file.get_slice(name)
                found = f"{there.get_dtype()}{list(there.get_shape())}"
                if found != f"{stored}{list(want.shape)}":
                    raise ValueError(
                        f"{path}: {name} is {found} there and {stored}{list(want.shape)} in the "
                        "model"
                    )
            leaves = [jnp.asarray(file.get_tensor(name)) for name in shapes]
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
    return jax.tree.unflatten(jax.tree.structure(wanted), leaves)


def _artifacts(ae: Autoencoder, variables: Variables) -> dict[str, bytearray]:
    """Serialized programs with a symbolic batch size and the weights inside."""
    (batch,) = jax_export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, *ae.event_shape), jnp.float32)
    z = jax.eval_shape(lambda x: ae.encode(variables, x), x)
    calls = {"encode": (ae.encode, x), "decode": (ae.decode, z), "reconstruct": (ae.reconstruct, x)}

    def program(method: Any) -> Any:
        return jax.jit(lambda a: method(variables, a))

    return {
        name: jax_export.export(program(method), platforms=PLATFORMS)(example).serialize()
        for name, (method, example) in calls.items()
    }


def _card(run: Run, name: str, described: Mapping[str, Any]) -> str:
    config, environment = run.config, read_json(run.path / "environment.json")
    if not isinstance(environment, dict) or not isinstance(environment.get("packages"), dict):
        raise ValueError(f"{run.path / 'environment.json'} is not the environment of a run")
    step = described["step"]
    tests = [r for r in run.rows() if (r["step"], r.get("split")) == (step, "test")]
    last = finite(tests[-1]) if tests else {}
    data, settings, train = (
        part if isinstance(part := config.get(name), dict) else {}
        for name in ("data", "fit", "train")
    )
    source = data.get("name", "arrays given to `fit`")
    left_out = ("epoch", "images_per_second")
    figures = [
        f"| {key} | {value:.6g} |"
        for key, value in last.items()
        if type(value) is float and key not in left_out
    ]
    model = described["model"]
    shape = ", ".join(map(str, described["event_shape"]))
    versions = ", ".join(f"{k} {v}" for k, v in environment["packages"].items())
    train = {k: v for k, v in train.items() if v is not None}
    return f"""# {name}

A {model["kind"]} autoencoder of examples [{shape}], trained for {described["step"]} steps with
ae_jax. It was not tested for any use but research.

```python
from ae_jax.storage.export import load_exported

ae, variables, config = load_exported("{name}")
z = ae.encode(variables, x)  # x: float32 in the units of the training data, or uint8 pixels
```

Without ae_jax: `jax.export.deserialize(bytearray(open("encode.stablehlo", "rb").read())).call(x)`,
with x in float32 (uint8 pixels divided by 255); likewise `decode` and `reconstruct`.

## Data

{source}: `{json.dumps(settings.get("data"))}`

## Figures, on the test set, means over examples

| figure | value |
| --- | --- |
{chr(10).join(figures) or "| of this step there are none | |"}

## Model

`{json.dumps(model)}`

## Training

`{json.dumps(train)}`, seed {config.get("seed")}

{versions}; Python {environment.get("python")}; {environment.get("device")}
"""
