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
import optax
from jax import export as jax_export
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ae_jax.core import Autoencoder, Variables, by_path, example_columns, init_state
from ae_jax.files import finite, read_json, require_regular
from ae_jax.models import Model
from ae_jax.storage.manifest import DamagedError, verify, write_manifest
from ae_jax.storage.runs import Run, build_model, load_run

FORMAT = 2
PLATFORMS = ("cpu", "cuda", "tpu")
_TYPES = {"bool": "BOOL", "bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}
_TYPES |= {f"int{n}": f"I{n}" for n in (8, 16, 32, 64)}
_TYPES |= {f"uint{n}": f"U{n}" for n in (8, 16, 32, 64)}  # as safetensors calls them


class Exported(NamedTuple):
    """Ready to use: ``ae.encode(variables, x)``, ``ae.decode(variables, z)``."""

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
    """Write the model of a run (of `step`, or its newest checkpoint) to a new folder.

    `models` and `ae` are for models of your own (see `load_run`). Raises `ValueError` as `load_run`
    does, or if `directory` exists and is not empty, and `OSError`.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} exists and is not empty: choose another")
    ae, state, config = load_run(run_dir, step, models=models, ae=ae)
    variables = jax.device_get(state.variables)
    described: dict[str, Any] = {"format": FORMAT, "step": int(state.step)}
    described |= {name: config.get(name) for name in ("model", "event_shape")}
    described["dtype"] = str(jnp.dtype(ae.dtype))
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".tmp", directory.name, directory.parent) as temporary:
        folder = Path(temporary, directory.name)
        folder.mkdir()
        # Not ascontiguousarray, which makes a scalar [1].
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
    """The model in a folder that `export` wrote, whoever it came from.

    Every file is compared with the manifest. The model is one of `models`, or `ae` itself (see
    `load_run`), and names, shapes and dtypes of the weights are compared with it before they are
    read.

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
    ae = build_model(config, str(folder / "config.json"), models, ae)
    made = jax.eval_shape(lambda: init_state(ae, optax.identity(), jax.random.key(0)))
    wanted = made.variables
    return Exported(ae, read_weights(folder / "model.safetensors", wanted), config)


def read_weights(path: Path, wanted: Any, *, stored: str | None = None) -> Any:
    """The arrays in a safetensors file as the tree `wanted`, each stored in its own type there, or
    all in the type `stored`.

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
                needed = f"{stored or _TYPES[str(want.dtype)]}{list(want.shape)}"
                if found != needed:
                    raise ValueError(f"{path}: {name} is {found}, and {needed} in the model")
            leaves = [jnp.asarray(file.get_tensor(name)) for name in shapes]
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
    return jax.tree.unflatten(jax.tree.structure(wanted), leaves)


def _artifacts(ae: Autoencoder, variables: Variables) -> dict[str, bytearray]:
    """Serialized programs with a symbolic batch size and the weights inside.

    Those of a conditional model take the columns that it is given, a dict, as a second argument.
    """
    (batch,) = jax_export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, *ae.event_shape), jnp.float32)
    given = {
        name: jax.ShapeDtypeStruct((batch, *ae.columns[name]), column.dtype)
        for name, column in example_columns(ae.columns).items()
        if name in ae.given
    }
    columns = (given,) if given else ()
    z = jax.eval_shape(lambda x, given: ae.encode(variables, x, **given), x, given)
    calls: dict[str, tuple[Any, Any]] = {
        "encode": (ae.encode, x),
        "decode": (ae.decode, z),
        "reconstruct": (ae.reconstruct, x),
    }

    def program(method: Any) -> Any:
        if given:
            return jax.jit(lambda a, given: method(variables, a, **given))
        return jax.jit(lambda a: method(variables, a))

    return {
        name: jax_export.export(program(method), platforms=PLATFORMS)(example, *columns).serialize()
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
    kind = f"A {model['kind']}" if model else "A hand-made"
    shape = ", ".join(map(str, described["event_shape"]))
    versions = ", ".join(f"{k} {v}" for k, v in environment["packages"].items())
    train = {k: v for k, v in train.items() if v is not None}
    return f"""# {name}

{kind} autoencoder of examples [{shape}], trained for {described["step"]} steps with
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
