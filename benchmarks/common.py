"""What the benchmarks share: the shape of a result, the model they read, and what describes the machine."""

from __future__ import annotations

import copy
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import torch

from inversionview.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
ON_CPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Environment of a process that is to see no GPU: the targets are for processors."""

RUNS = Path(os.environ.get("INVERSIONVIEW_RUNS") or ROOT / "runs")
"""Where what takes long to make is kept: trained studies and curves."""
BEGIN = "<|endoftext|>"
"""The token before each text of SmolLM2: its tokenizer's own one begins a turn of a chat."""


class Row(TypedDict):
    """One number."""

    name: str
    value: float
    unit: str
    target: NotRequired[float]
    sense: NotRequired[Literal["at most", "at least"]]
    """How the target is meant; at most, where it is not said."""
    detail: NotRequired[str]


def verdict(row: Row) -> str:
    """Say whether the target was met; empty where there is none."""
    if "target" not in row:
        return ""
    if row.get("sense", "at most") == "at least":
        return "met" if row["value"] >= row["target"] else "MISSED"
    return "met" if row["value"] <= row["target"] else "MISSED"


def smollm2() -> Path:
    """The folder of SmolLM2-135M. Raises `UserError` where it is not here."""
    folder = Path(os.environ.get("INVERSIONVIEW_REAL_MODELS") or ROOT / "models") / "smollm2-135m"
    if not folder.is_dir():
        raise UserError(f"there is no model in {folder}: `make real-models` gets it")
    return folder


def addition_model() -> tuple[Path, str]:
    """The folder of a model of 3-digit addition, and what to call it: the paper's where it is at hand, else our own."""
    paper = ROOT.parent / "shared" / "models" / "paper_addition"
    if paper.is_dir():
        return paper, "paper_addition"
    from inversionview.studies.description import PROBED, bundled_studies

    return bundled_studies()["addition"] / PROBED, "the bundled addition model"


def in_one_thread(module: str, *args: str) -> str:
    """What a module prints, run in a process of its own with one thread and no GPU; what goes wrong is an error."""
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} | ON_CPU
    done = subprocess.run(
        [sys.executable, "-m", module, *args], cwd=ROOT, env=os.environ | one, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(args)} failed: {done.stderr[-2000:]}")
    return done.stdout


def transformer_lens(model: Any) -> Any:
    """The same model in TransformerLens, with its usual processing; it takes over a copy of it."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    bridge = build_bridge_from_module(copy.deepcopy(model), architecture="GPT2LMHeadModel", hf_config=model.config)
    bridge.enable_compatibility_mode(disable_warnings=True)
    bridge.set_use_attn_result(True)
    return bridge


def describe_machine() -> dict[str, str | int | float | bool]:
    """What the numbers depend on, as plain JSON."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "bf16_matmul_instructions": _has_bf16(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit(),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def commit() -> str:
    """Of this checkout."""
    return _git("rev-parse", "--short=12", "HEAD")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _has_bf16() -> str:
    """Which instructions for bf16 matrix products the processor has, by its own account."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text(errors="replace").split()) if cpuinfo.exists() else set()
    return ", ".join(sorted(flags & {"amx_bf16", "avx512_bf16"})) or "none"


def _git(*args: str) -> str:
    try:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
