"""What a reader may rely on in every file of the project."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "latentkit").rglob("*.py"))
LONGEST = 320
# Spelled in pieces so that this file passes its own test.
FOLDERS = ("work", "root", "home", "tmp", "opt", "mnt", "Users", "private")
LOCAL = re.compile(r"(?<![\w.~}\])-])/(?:" + "|".join(FOLDERS) + r")/[\w.]")
HOSTS = ["py" + "pi.org", "python" + "hosted.org", "registry." + "npmjs", "download." + "pytorch", "deb." + "debian"]
BRITISH = re.compile(r"colour|normalis|initialis|optimis|centre|neighbour|analyse(?!s)|realis(?!t)|minimis|summaris")


def tracked() -> list[Path]:
    """Return the files git tracks that are text."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout: no list of the project's files")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [p for p in paths if p.is_file() and p.suffix not in (".png", ".pdf", ".nc", ".safetensors")]


def readable(path: Path) -> str:
    """Return a file's text; of a notebook everything but its pictures, whose letters are arbitrary."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    content = json.loads(text)
    for cell in content["cells"]:
        for output in cell.get("outputs", ()):
            for kind in [k for k in output.get("data", {}) if k.startswith("image/")]:
                del output["data"][kind]
    return json.dumps(content, ensure_ascii=False)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_single_minded_and_short():
    files = SOURCES + sorted((ROOT / "tests").glob("*.py"))
    long = {named(p): n for p in files if (n := len(p.read_text(encoding="utf-8").splitlines())) > LONGEST}
    assert not long, f"longer than {LONGEST} lines, to be split: {long}"


def test_ruff_is_content():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "latentkit", "tests"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_no_local_path_and_no_registry_host():
    found = []
    for path in tracked():
        for match in LOCAL.finditer(text := readable(path)):
            found.append(f"{named(path)}: {text[max(0, match.start() - 20) : match.end() + 20]!r}")
        found += [f"{named(path)}: {host}" for host in HOSTS if host in text]
    assert not found, "\n".join(found)


def test_the_search_for_local_paths_sees_them():
    for folder in FOLDERS:
        assert LOCAL.search(f'open("/{folder}/x.nc")') and LOCAL.search(f"see /{folder}/x.nc")
        assert not LOCAL.search(f"figures/{folder}/x.png") and not LOCAL.search(f"https://a.b/{folder}/x")


def test_nothing_is_called_utils_and_the_package_reexports_nothing():
    assert not [named(p) for p in SOURCES if p.stem in ("utils", "helpers", "misc", "common")]
    top = ast.parse((ROOT / "latentkit" / "__init__.py").read_text(encoding="utf-8"))
    assert not [n for n in ast.walk(top) if isinstance(n, ast.Import | ast.ImportFrom)]
    yaml = [named(p) for p in tracked() if p.suffix in (".yml", ".yaml") and p.name != "environment.yml"]
    assert not yaml, f"settings stand in presets, not in {yaml}"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{named(path)} has no docstring"
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    scopes = [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef))]
    bare = [
        f"line {node.lineno}: {node.name}"
        for scope in scopes
        for node in scope.body
        if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node)
        # `forward` is called through the module, whose docstring says what it does
        if node.name != "forward"
    ]
    assert not bare, f"without a docstring: {bare}"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_no_global_seed_and_american_identifiers(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    seeds = {"torch.manual_seed", "np.random.seed", "numpy.random.seed", "random.seed", "torch.cuda.manual_seed_all"}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & seeds, f"global seeds: {called & seeds}; take a generator as an argument"
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
        n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)
    }
    names |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    assert not (british := {n for n in names if BRITISH.search(n)}), f"spelled the British way: {british}"
