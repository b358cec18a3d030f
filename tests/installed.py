"""The package as those who install it meet it: `python -m tests.installed`.

Wheel and sdist are built, and the wheel that is built from the sdist must hold the same files; it is installed into a
new environment in a folder outside the checkout, where nothing but that environment is on the path (no git), and does
there what the README promises: the demo, a reading, a page that answers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from tests.paths import ROOT

MOST = 45
"""Packages of an installation without extras, ours among them."""
TIMEOUT = 120
WAYS = {"PIP_CONSTRAINT": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


def main() -> int:
    """Build, install and try; what fails ends it with what was said."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        wheel = built(place)
        programs = place / "environment" / "bin"
        run(sys.executable, "-m", "venv", place / "environment", cwd=place)
        packages = installed(programs, wheel, "")
        print(f"{packages} packages without extras, {MOST} at most", flush=True)
        assert packages <= MOST, "the core installation has too many packages"
        (place / "empty").mkdir()
        tried_to_read(programs, place / "empty")
        installed(programs, wheel, "[web]")
        tried_to_serve(programs, place / "empty")
        left = sorted(path.name for path in (place / "empty").iterdir())
        assert left == ["inversionview-report.html"], left
    print("the installed package reads and serves", flush=True)
    return 0


def built(place: Path) -> Path:
    """The wheel that is built from the sdist, which holds what the one built from the checkout does."""
    run(sys.executable, "-m", "hatchling", "build", "--directory", place / "dist", cwd=ROOT)
    (sdist,) = (place / "dist").glob("*.tar.gz")
    (wheel,) = (place / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(place / "source", filter="data")
    (source,) = (place / "source").iterdir()
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", place / "again", cwd=source)
    (again,) = (place / "again").glob("*.whl")
    names = [sorted(zipfile.ZipFile(file).namelist()) for file in (wheel, again)]
    assert names[0] == names[1], "the wheel of the sdist holds other files than that of the checkout"
    print(
        f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB; {sdist.stat().st_size / 1e6:.1f} MB as source", flush=True
    )
    return again


def installed(programs: Path, wheel: Path, extras: str) -> int:
    """Install it; gives how many packages there are then, but for what installs them."""
    pins = ("--constraint", ROOT / "constraints.txt")
    run(programs / "python", "-m", "pip", "install", "--quiet", *pins, f"{wheel}{extras}", cwd=wheel.parent)
    listed = run(programs / "python", "-m", "pip", "list", "--format", "json", cwd=wheel.parent)
    return len({package["name"] for package in json.loads(listed)} - {"pip", "setuptools", "wheel"})


def tried_to_read(programs: Path, folder: Path) -> None:
    """The demo, and a reading as JSON."""
    demo = run(programs / "inversionview", "demo", cwd=folder, alone=programs)
    assert "ROWS" in demo, demo
    asked = ("addition", "615+861=1476", "--site", "a0.2", "--at", "=", "-n", "100", "--json")
    reading = json.loads(run(programs / "inversionview", "read", *asked, cwd=folder, alone=programs))
    assert reading["inside"] > 0, reading


def tried_to_serve(programs: Path, folder: Path) -> None:
    """The viewer's page, and the studies that it has."""
    command = [programs / "inversionview", "serve", "addition", "--port", "0"]
    process = subprocess.Popen(command, cwd=folder, env=environment(programs), text=True, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert address is not None, "serve said no address"
        assert "<html" in fetched(address[0]).lower()
        studies = json.loads(fetched(f"{address[0]}api/studies"))["studies"]
        assert [study["name"] for study in studies] == ["addition"]
    finally:
        process.terminate()
        process.wait(TIMEOUT)


def fetched(address: str) -> str:
    """What is at an address of this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=TIMEOUT) as answer:
        return str(answer.read().decode())


def environment(alone: Path | None) -> dict[str, str]:
    """This one's without what would lead to the checkout; with `alone`, only these programs are on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "MAKE"))}
    return kept | WAYS | ({} if alone is None else {"PATH": str(alone)})


def run(*command: str | Path, cwd: Path, alone: Path | None = None) -> str:
    """What a command prints. Ends the program, saying what it said, where it fails."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment(alone), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
