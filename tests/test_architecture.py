"""The rules of the house: who may import whom, what loads when, what every name must say.

Truth: docs/architecture.md; the import contracts stand in pyproject.toml.
"""

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import aet2dft

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "aet2dft"
SOURCES = {path.relative_to(REPOSITORY).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
ROOMS = sorted(path.parent.relative_to(REPOSITORY).as_posix() for path in PACKAGE.rglob("__init__.py"))
HEAVY = (
    "numpy",
    "scipy",
    "ase",
    "numba",
    "h5py",
    "pyfftw",
    "matplotlib",
    "pymatgen",
    "executorlib",
    "spglib",
    "jinja2",
)
ONLY_IN = {
    "matplotlib": r"aet2dft/(plot|html_report)/.*",
    "pymatgen": r"aet2dft/dft_inputs/vasp.*",
    "h5py": r"aet2dft/(hdf5|store|cli/\w+)\.py",
    "numba": r"aet2dft/(.*/_kernels\w*|cli/\w+)\.py",
    "typer": r"aet2dft/cli/.*",
    "executorlib": r"aet2dft/dft_inputs/.*",
    "jinja2": r"aet2dft/html_report/.*",
}
"""Libraries and the files that may import them; `cli` asks for versions only."""
SHAPE = re.compile(r"\((\d+|\.\.\.|[A-Za-z]\w*),[^()]*\)")


@functools.cache
def trees():
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


@functools.cache
def imports():
    """Top-level names of everything that each module imports, wherever in the module."""
    return {name: set(imported(tree)) for name, tree in trees().items()}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def loaded_by(code):
    """Heavy libraries in memory after a piece of code ran in a fresh interpreter."""
    asked = f"{code}\nimport sys; sys.stderr.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return done.stderr.split()


def test_imports_follow_the_contracts():
    linter = pytest.importorskip("importlinter.cli", reason="import-linter is of the dev extra; `make lint` runs it")
    assert linter.lint_imports(config_filename=str(REPOSITORY / "pyproject.toml"), no_cache=True, no_logo=True) == 0


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_heavy_library_is_imported_in_its_own_files_only(library):
    users = {name for name, names in imports().items() if library in names}
    assert {name for name in users if not re.fullmatch(ONLY_IN[library], name)} == set()


def test_kernels_import_numpy_numba_and_math_only():
    kernels = {name: names for name, names in imports().items() if "/_kernels" in name}
    assert kernels
    assert set().union(*kernels.values()) <= {"__future__", "numpy", "numba", "math"}


def test_importing_the_package_loads_no_heavy_library():
    assert loaded_by("import aet2dft; dir(aet2dft); aet2dft.__version__") == []


@pytest.mark.parametrize("arguments", [["--help"], ["order", "--help"], ["--version"]])
def test_help_loads_no_heavy_library(arguments):
    assert loaded_by(f"from aet2dft.cli import main\ntry: main({arguments!r})\nexcept SystemExit: pass") == []


def test_every_public_name_is_the_same_thing_on_second_access():
    for name in aet2dft.__all__:
        first, second = getattr(aet2dft, name), getattr(aet2dft, name)
        assert first is second, name
        assert not inspect.ismodule(first), name
    assert set(aet2dft.__all__) <= set(dir(aet2dft))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = aet2dft.no_such_name


def test_type_checkers_see_the_same_public_names_as_the_interpreter():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    declared = {alias.asname: (line.module, alias.name) for line in block.body for alias in line.names}
    assert set(declared) == set(aet2dft.__all__) - {"__version__"}
    for name, (module, inner) in declared.items():
        assert getattr(importlib.import_module(module), inner) is getattr(aet2dft, name), name


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_has_the_name_of_a_public_function_of_its_package(room):
    folder = REPOSITORY / room
    modules = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    package = importlib.import_module(room.replace("/", "."))
    public = set(getattr(package, "__all__", ())) | {
        name for name, value in vars(package).items() if callable(value) and not name.startswith("_")
    }
    assert public & modules == set()


def test_no_module_is_longer_than_400_lines():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in SOURCES.items()}
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_nine_of_ten_functions_are_shorter_than_45_lines():
    functions = [node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    short = [node for node in functions if node.end_lineno - node.lineno + 1 < 45]
    assert len(short) >= 0.9 * len(functions)


def test_every_module_says_what_lives_in_it():
    assert [name for name, tree in trees().items() if not ast.get_docstring(tree)] == []


def test_every_public_function_is_described_and_gives_the_shapes_of_its_arrays():
    missing = []
    for name, tree in trees().items():
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or "/_kernels" in name:
                continue
            text = ast.get_docstring(node) or ""
            arguments = [*node.args.args, *node.args.kwonlyargs]
            takes_arrays = any("NDArray" in ast.unparse(a.annotation) for a in arguments if a.annotation is not None)
            if not text or (takes_arrays and not SHAPE.search(text)):
                missing.append(f"{name}: {node.name}")
    assert missing == []


@pytest.mark.parametrize("name", [name for name in aet2dft.__all__ if inspect.isfunction(getattr(aet2dft, name))])
def test_every_public_function_describes_each_parameter_and_types_it(name):
    function = getattr(aet2dft, name)
    parameters = inspect.signature(function).parameters
    section = (inspect.getdoc(function) or "").partition("Parameters\n----------")[2].splitlines()
    heads = " ".join(line.partition(" : ")[0] for line in section if " : " in line and not line.startswith(" "))
    assert [p for p in parameters if not re.search(rf"\b{p}\b", heads)] == []
    assert set(get_type_hints(function)) >= {*parameters, "return"}


def test_records_are_frozen_and_every_field_is_described():
    loose, silent = [], []
    for name, tree in trees().items():
        for node in ast.walk(tree):
            decorators = [ast.unparse(d) for d in getattr(node, "decorator_list", ())]
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            if not any(d.startswith(("dataclass", "dataclasses.dataclass")) for d in decorators):
                continue
            if not any("frozen=True, kw_only=True, slots=True" in d for d in decorators):
                loose.append(f"{name}: {node.name}")
            for field, below in zip(node.body, [*node.body[1:], None], strict=True):
                is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and not is_text:
                    silent.append(f"{name}: {node.name}.{ast.unparse(field.target)}")
    # the one state that lives while a verb runs
    assert loose == ["aet2dft/cli/framework.py: Step"]
    assert silent == []
