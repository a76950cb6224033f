"""Builds the sdist and the wheel, and imports every module of each where the source tree is not."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("agents", "envs", "experiments", "oracles", "rewards")
IGNORED = {"__pycache__", ".DS_Store"}

IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
import preflab
def fail(name):
    raise ImportError(name)
names = [module.name for module in pkgutil.walk_packages(preflab.__path__, "preflab.", onerror=fail)]
home = pathlib.Path(sys.prefix).resolve()
for name in names:
    module = importlib.import_module(name)
    where = pathlib.Path(module.__file__).resolve()
    assert home in where.parents, f"{name} comes from {where}, not from the built distribution"
for room in sys.argv[1:]:
    assert f"preflab.{room}" in names, f"preflab.{room} is missing"
print(len(names))
"""


def main() -> None:
    """Raises CalledProcessError or SystemExit at the first thing that is missing."""
    out = ROOT / "dist"
    shutil.rmtree(out, ignore_errors=True)
    # The wheel is made from the sdist, so no stale build/ folder can slip into it.
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)], quiet=True)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    wanted = {str(path.relative_to(ROOT / "src")) for path in files_of(ROOT / "src" / "preflab")}
    with zipfile.ZipFile(wheel) as archive:
        check_names("wheel", wanted, set(archive.namelist()))
    with tarfile.open(sdist) as archive:
        links = [member.name for member in archive.getmembers() if member.issym() or member.islnk()]
        check_names("sdist", wanted, {name.partition("/src/")[2] for name in archive.getnames()})
    if links:
        raise SystemExit(f"the sdist holds links, which lead nowhere once unpacked: {links}")
    for distribution in (wheel, sdist):
        print(f"{distribution.name}: {import_all(distribution)} modules import from a clean environment")


def files_of(package: Path) -> list[Path]:
    """Returns every file below `package`, links followed, without caches."""
    found: list[Path] = []
    for path in sorted(package.iterdir()):
        if path.name not in IGNORED:
            found.extend(files_of(path) if path.is_dir() else [path])
    return found


def check_names(kind: str, wanted: set[str], found: set[str]) -> None:
    """Ends the build if a file of the tree did not reach the distribution."""
    if missing := sorted(wanted - found):
        raise SystemExit(f"the {kind} lacks {len(missing)} files (package-data in pyproject.toml?): {missing[:20]}")


def import_all(distribution: Path) -> int:
    """Installs `distribution` alone into a new environment, imports every module there and returns their number.

    Dependencies come from this environment's site-packages through a .pth file; the .pth of the editable install there
    is not followed, so the source tree cannot stand in for a missing file.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "env"
        venv.create(home, symlinks=True)
        python = home / "bin" / "python"
        site = next(home.glob("lib/python*/site-packages"))
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        run([*pip, "--no-deps", "--no-index", "--no-build-isolation", str(distribution)])
        return int(run([str(python), "-c", IMPORT_ALL, *ROOMS], cwd=folder).splitlines()[-1])


def run(command: list[str], cwd: str | None = None, quiet: bool = False) -> str:
    """Returns what `command` prints; if it fails, shows everything and raises."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise subprocess.CalledProcessError(done.returncode, command)
    if not quiet and done.stderr:
        sys.stderr.write(done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
