"""One training loop, for decoders and probed models: it trains an `Objective` and knows nothing else."""

from inversionview.training.budget import Clock
from inversionview.training.checkpoint import has_checkpoint, saved_config
from inversionview.training.config import Objective, TrainingConfig
from inversionview.training.logging import JsonLines, Logger, Loggers, ProgressBar, Trackers
from inversionview.training.loop import TrainingResult, train
from inversionview.training.precision import fast_dtype, matmul_rate
from inversionview.training.processes import default_device

__all__ = [
    "Clock",
    "JsonLines",
    "Logger",
    "Loggers",
    "Objective",
    "ProgressBar",
    "Trackers",
    "TrainingConfig",
    "TrainingResult",
    "default_device",
    "fast_dtype",
    "has_checkpoint",
    "matmul_rate",
    "saved_config",
    "train",
]
