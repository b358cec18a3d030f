"""Axis names, defined once, and the array types that use them.

batch      inputs run together
pos        token positions of an input; 0 is the begin token
asked      those of them that are asked about
d_model    the width of the probed model's residual stream
width      numbers that an activation has at its site: d_model, d_head, neurons, or a view's
head       attention heads of one layer
vocab      entries of a vocabulary
used       those of them that a task's inputs are written in
site       places in the probed model, in the order a decoder was given them
query      activations that are being read
candidate  inputs proposed for a query
"""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

Tokens = Int[Tensor, "batch pos"]
OneInput = Int[Tensor, " pos"]
OtherInput = Int[Tensor, " other_pos"]
"""One input that is compared with others, which may be wider."""
Positions = Int[Tensor, " batch"]
PerInput = Float[Tensor, " batch"]
PerPosition = Float[Tensor, "batch pos"]
PositionMask = Bool[Tensor, "batch pos"]
NextTokens = Bool[Tensor, "batch asked used"]
InputMask = Bool[Tensor, " batch"]
Activations = Float[Tensor, "batch width"]
Logits = Float[Tensor, "batch pos vocab"]
