"""Imports go one way, and nothing that is loaded can run code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ae_jax"
LAYERS = [  # each may import those before it
    {"spec", "losses"},
    {"devices"},
    {"files"},
    {"core"},
    {"ops"},
    {"networks"},
    {"bottlenecks", "likelihoods", "priors", "sparsifiers"},
    {"models"},
    {"data"},
    {"storage"},
    {"trackers"},
    {"training"},
    {"pretraining"},
    {"evaluation"},
    {"doctor"},
    {"sklearn"},
    {"report"},
]
LEAVES = {"plots"}  # arrays in, figures out; any layer may draw


def imports(file):
    """Dotted names of ae_jax that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ae_jax"):
            yield from (
                [f"ae_jax.{alias.name}" for alias in node.names]
                if node.module == "ae_jax"
                else [node.module]
            )
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("ae_jax"))


def layer(name):
    name = name.removeprefix("ae_jax.")
    return next(i for i, names in enumerate(LAYERS) if name.partition(".")[0] in names)


FILES = [f for f in PACKAGE.rglob("*.py") if f != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_go_one_way(file):
    name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    found = list(imports(file))
    if (leaf := name.partition(".")[0]) in LEAVES:
        assert all(target.startswith(f"ae_jax.{leaf}") for target in found)
        return
    for target in found:
        if target.split(".")[1] in LEAVES:
            continue
        assert layer(target) <= layer(name), f"{name} imports {target}"


SCRIPTS = PACKAGE.parent / "experiments"
MODULES = {  # that run code when they load, or import what a string names
    "pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "importlib", "runpy", "imp",
    "yaml", "code", "pty",
}  # fmt: skip
RUNS_THE_USERS_FILE = "user_file.py"  # because the command line names that file
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}


@pytest.mark.parametrize(
    "file", [*FILES, *SCRIPTS.rglob("*.py")], ids=lambda f: str(f.relative_to(PACKAGE.parent))
)
def test_nothing_that_is_loaded_runs_code(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {node.module} if node.module != "importlib" else {a.name for a in node.names}
        else:
            names = set()
        assert not names & MODULES or file.name == RUNS_THE_USERS_FILE
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in CALLS
            given = {k.arg: k.value for k in node.keywords}
            if called in ("np.load", "numpy.load"):
                assert "allow_pickle" in given, "np.load needs allow_pickle=False"
            for name in ("allow_pickle", "shell"):
                value = given.get(name, ast.Constant(False))
                assert isinstance(value, ast.Constant) and value.value is False


def test_base_import_is_light():
    heavy = ("tensorflow_datasets", "orbax", "matplotlib", "sklearn", "tensorflow", "flax")
    code = f"import sys, ae_jax; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_models_and_training_pull_in_no_data_or_plotting_package():
    heavy = ("tensorflow_datasets", "matplotlib", "sklearn", "tensorflow")
    code = f"import sys; from ae_jax import fit; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
