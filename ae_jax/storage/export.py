"""Export models for sharing: one folder of weights, configuration and model card.

    DIR/model.safetensors   parameters (the moving average, if any) and untrained collections
        config.json         the model specification
        README.md           the model card: data, metrics, versions
        encode.stablehlo, decode.stablehlo, reconstruct.stablehlo
        manifest.json       SHA-256 of every file (see `ae_jax.storage.manifest`)

Loading the folder runs no code from it. The .stablehlo files are `jax.export` artifacts that
include the weights, for programs with jax but without this package. `load_exported` does not read
them:

    encode = jax.export.deserialize(bytearray(open("DIR/encode.stablehlo", "rb").read()))
    z = encode.call(x)  # float32 [B, *event_shape], any B
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax import export as jax_export
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ae_jax.core import Autoencoder, Variables, by_path, example_columns, init_state
from ae_jax.files import finite, read_json, require_regular, user_path, writable_folder
from ae_jax.models import Model
from ae_jax.models.standardized import standardized
from ae_jax.spec import to_dict
from ae_jax.storage.manifest import DamagedError, verify, write_manifest
from ae_jax.storage.runs import Run, build_model, load_run

FORMAT = 2
PLATFORMS = ("cpu", "cuda", "tpu")
# NumPy dtypes -> safetensors types
_TYPES = {"bool": "BOOL", "bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}
_TYPES |= {f"int{n}": f"I{n}" for n in (8, 16, 32, 64)}
_TYPES |= {f"uint{n}": f"U{n}" for n in (8, 16, 32, 64)}


class Exported(NamedTuple):
    """A loaded model: ``ae.encode(variables, x)``, ``ae.decode(variables, z)``."""

    ae: Autoencoder
    variables: Variables
    config: dict[str, Any]


def export(
    run_dir: str | Path,
    directory: str | Path,
    step: int | None = None,
    *,
    models: Any = Model,
    ae: Autoencoder | None = None,
) -> Path:
    """Export the model of a run to a new folder, and return its path.

    Args:
      run_dir: the run directory.
      directory: the folder to create.
      step: the step of the checkpoint; by default the newest intact one.
      models, ae: for models of your own (see `load_run`).

    Raises:
      ValueError: see `load_run`; also if `directory` cannot be written, or is not empty.
      OSError: the disk is full.
    """
    directory = user_path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} exists and is not empty: choose another")
    writable_folder(directory.parent)
    ae, state, config = load_run(run_dir, step, models=models, ae=ae, data_units=False)
    variables = state.variables
    described: dict[str, Any] = {"format": FORMAT, "step": int(state.step)}
    described |= {name: config.get(name) for name in ("model", "event_shape", "statistics")}
    if ae.exported is not None:
        inference, variables = ae.exported(variables)
        ae = replace(inference, dtype=ae.dtype)
        described["model"] = to_dict(ae.spec)
    variables = jax.device_get(variables)
    described["dtype"] = str(jnp.dtype(ae.dtype))
    if config.get("statistics") is not None:
        ae = standardized(ae, config["statistics"], f"{run_dir}: statistics")
    with tempfile.TemporaryDirectory(".tmp", directory.name, directory.parent) as temporary:
        folder = Path(temporary, directory.name)
        folder.mkdir()
        # Not ascontiguousarray, which turns a scalar into an array of shape [1].
        weights = {k: np.asarray(v, order="C") for k, v in by_path(variables).items()}
        save_file(weights, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n")
        (folder / "README.md").write_text(_card(Run.open(run_dir), directory.name, described))
        # Arrays of jax, which a traced index can be taken from.
        for name, artifact in _artifacts(ae, jax.tree.map(jnp.asarray, variables)).items():
            (folder / f"{name}.stablehlo").write_bytes(artifact)
        write_manifest(folder, {})
        if directory.exists():
            directory.rmdir()
        shutil.move(folder, directory)
    return directory


def load_exported(
    directory: str | Path, *, models: Any = Model, ae: Autoencoder | None = None
) -> Exported:
    """Return the model in a folder that `export` wrote. The folder may come from anyone.

    Every file is compared with the manifest. The model is one of `models`, or `ae` itself (see
    `load_run`). The names, shapes and dtypes of the weights are compared with the model's before
    any weight is read.

    Raises `ValueError` if the folder is damaged, has another format, or is not an exported model.
    """
    folder = user_path(directory)
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
    ae = build_model(config, str(folder / "config.json"), models, ae)
    state = jax.eval_shape(lambda: init_state(ae, optax.identity(), jax.random.key(0)))
    return Exported(ae, read_weights(folder / "model.safetensors", state.variables), config)


def read_weights(path: Path, wanted: Any, *, stored: str | None = None) -> Any:
    """Return the arrays in a safetensors file as a tree like `wanted`.

    Args:
      path: the file.
      wanted: a tree of the expected shapes and dtypes; it may be abstract.
      stored: the safetensors type of every array, such as "F16"; by default the type of its dtype
        in `wanted`.

    Raises:
      ValueError: names, types or shapes differ, or the file is damaged.
    """
    shapes, leaves = by_path(wanted), []
    try:
        require_regular(path)
        with safe_open(path, framework="numpy") as file:
            for name in sorted(file.keys() ^ shapes.keys()):
                side = "file" if name in file.keys() else "model"  # noqa: SIM118 (not a dict)
                raise ValueError(f"{path}: only the {side} has {name}")
            for name, leaf in shapes.items():
                array = file.get_slice(name)
                actual = f"{array.get_dtype()}{list(array.get_shape())}"
                expected = f"{stored or _TYPES[str(leaf.dtype)]}{list(leaf.shape)}"
                if actual != expected:
                    raise ValueError(f"{path}: {name} is {actual}, but {expected} in the model")
            leaves = [jnp.asarray(file.get_tensor(name)) for name in shapes]
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
    return jax.tree.unflatten(jax.tree.structure(wanted), leaves)


def _artifacts(ae: Autoencoder, variables: Variables) -> dict[str, bytearray]:
    """Return serialized programs that include the weights and accept any batch size.

    The second argument of a conditional model's programs is a dict of its condition columns.
    """
    (batch,) = jax_export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, *ae.event_shape), jnp.float32)
    conditions = {
        name: jax.ShapeDtypeStruct((batch, *ae.columns[name]), column.dtype)
        for name, column in example_columns(ae.columns, ae.integers).items()
        if name in ae.given
    }
    extra = (conditions,) if conditions else ()
    example = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype), (x, conditions)
    )
    z = jax.eval_shape(lambda x, conditions: ae.encode(variables, x, **conditions), *example)
    z = jax.tree.map(lambda a: jax.ShapeDtypeStruct((batch, *a.shape[1:]), a.dtype), z)
    calls: dict[str, tuple[Any, Any]] = {
        "encode": (ae.encode, x),
        "decode": (ae.decode, z),
        "reconstruct": (ae.reconstruct, x),
    }

    def program(method: Any, inputs: Any) -> bytearray:
        def batched(a: Any, conditions: Mapping[str, Array] = MappingProxyType({})) -> Any:
            return method(variables, a, **conditions)

        def row_by_row(*inputs: Any) -> Any:
            def one_row(*inputs: Any) -> Any:
                outputs = batched(*jax.tree.map(lambda leaf: leaf[None], inputs))
                return jax.tree.map(lambda leaf: leaf[0], outputs)

            return jax.vmap(one_row)(*inputs)

        try:
            exported = jax_export.export(jax.jit(batched), platforms=PLATFORMS)(inputs, *extra)
        except TypeError:  # the module needs the batch size as an integer, for example by len(x)
            exported = jax_export.export(jax.jit(row_by_row), platforms=PLATFORMS)(inputs, *extra)
        return exported.serialize()

    return {name: program(method, inputs) for name, (method, inputs) in calls.items()}


def _card(run: Run, name: str, described: Mapping[str, Any]) -> str:
    config, environment = run.config, read_json(run.path / "environment.json")
    if not isinstance(environment, dict) or not isinstance(environment.get("packages"), dict):
        raise ValueError(f"{run.path / 'environment.json'} is not the environment of a run")
    step = described["step"]
    tests = [r for r in run.rows() if (r["step"], r.get("split")) == (step, "test")]
    last = finite(tests[-1]) if tests else {}
    data, sets, train = (
        part if isinstance(part := config.get(name), dict) else {}
        for name in ("data", "fingerprint", "train")
    )
    source = data.get("name", "arrays given to `fit`")
    omitted = ("epoch", "images_per_second")
    metrics = [
        f"| {key} | {value:.6g} |"
        for key, value in last.items()
        if type(value) is float and key not in omitted
    ]
    model = described["model"]
    kind = f"A {model['kind']}" if model else "A hand-made"
    shape = ", ".join(map(str, described["event_shape"]))
    versions = ", ".join(f"{k} {v}" for k, v in environment["packages"].items())
    train = {k: v for k, v in train.items() if v is not None}
    return f"""# {name}

{kind} autoencoder of examples [{shape}], trained for {described["step"]} steps with
ae_jax. It has been tested for research only.

```python
from ae_jax.storage.export import load_exported

ae, variables, config = load_exported("{name}")
z = ae.encode(variables, x)  # x: float32 in the units of the training data, or uint8 pixels
```

Without ae_jax: `jax.export.deserialize(bytearray(open("encode.stablehlo", "rb").read())).call(x)`,
with x in float32 (uint8 pixels divided by 255); likewise `decode` and `reconstruct`.

## Data

{source}: `{json.dumps(sets.get("train"))}`

## Metrics on the test set (mean over examples)

| metric | value |
| --- | --- |
{chr(10).join(metrics) or "| not measured at this step | |"}

## Model

`{json.dumps(model)}`

## Training

`{json.dumps(train)}`, seed {config.get("seed")}

{versions}; Python {environment.get("python")}; {environment.get("device")}
"""
