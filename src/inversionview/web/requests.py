"""What a question may hold: the types of its fields. How much one may ask for is in `settings`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**53, description="Same seed, same result.")]
"""What a number can hold in a browser."""
Text = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, Field(max_length=200)]
At = Annotated[str, Field(max_length=200, description="A role, or an index; empty for the last eligible position.")]
Epsilon = (
    Annotated[float, Field(gt=0, lt=1e6, allow_inf_nan=False)]
    | Annotated[str, Field(max_length=40, description="0.1, null:0.01 or causal:0.05")]
    | None
)
Count = Annotated[int, Field(ge=1, le=2**31)]
Temperature = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokensRequest(_Request):
    """An input, as one types it."""

    input: Text


class _OneActivation(_Request):
    """An activation, and which inputs are like it."""

    input: Text
    at: At = ""
    site: Name
    epsilon: Epsilon = None
    metric: Literal["euclidean", "cosine"] | None = None
    position_rule: Literal["same", "any"] = "same"
    seed: Seed = 0


class ReadRequest(_OneActivation):
    """A sampled reading."""

    n: Count = 1000
    temperatures: Annotated[list[Temperature], Field(min_length=1, max_length=8)] = [1.0]
    prior_share: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.1
    also: Annotated[list[Name], Field(max_length=8)] = []
    columns: Annotated[list[Name], Field(max_length=32)] | None = None


class ExactRequest(_OneActivation):
    """All inputs that look the same; `n` of them are sent, the nearest."""

    n: Count = 1000
    given: Name | None = None
    columns: Annotated[list[Name], Field(max_length=32)] | None = None


class OverlapRequest(_Request):
    """Two readings whose members are compared."""

    first: ReadRequest | ExactRequest
    second: ReadRequest | ExactRequest


class MapRequest(_Request):
    """What every site knows at every named position, of one input or as a mean over random ones."""

    input: Text | None = None
    queries: Count | None = None
    epsilon: Epsilon = None
    where: Text | None = None
    by: Name | None = None
    at: Annotated[list[Name], Field(max_length=64)] | None = None
    sites: Annotated[list[Name], Field(max_length=1000)] | None = None
    seed: Seed = 0


class TestRequest(_Request):
    """A hypothesis about activations at one position."""

    __test__ = False  # no test, whatever its name says

    input: Text
    at: At = ""
    sites: Annotated[list[Name], Field(min_length=1, max_length=200)]
    hypothesis: Annotated[str, Field(min_length=1, max_length=1000)]
    exact: bool | None = None
    n: Count = 1000
    random_queries: Annotated[int, Field(ge=1, le=1000)] = 99
    epsilon: Annotated[float, Field(gt=0, lt=1e6, allow_inf_nan=False)] | None = None
    metric: Literal["euclidean", "cosine"] | None = None
    seed: Seed = 0


class ExplainRequest(_Request):
    """What sites say at a position, in words."""

    sites: Annotated[list[Name], Field(min_length=1, max_length=200)]
    at: Annotated[Name, Field(min_length=1)]
    queries: Count = 10
    seed: Seed = 0


class CausalRequest(_OneActivation):
    """Is what an activation encodes also used?"""

    n: Count = 500
    exact: bool | None = None
    features: Annotated[list[Name], Field(max_length=200)] | None = None
    given: Annotated[list[Name], Field(max_length=32)] | None = None


class AttentionRequest(_Request):
    """What the heads attend to; without `layer`, all layers."""

    input: Text
    layer: Annotated[int, Field(ge=0, le=10_000)] | None = None


class Failure(BaseModel):
    """Why there is no answer, in one line."""

    error: str
    instead: str = ""
    """What may be given in the place of what is wrong, such as the right sum."""


def one_line(errors: list[Any]) -> str:
    """The first thing that is wrong with a request, in a line."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    if first["type"] == "json_invalid":
        return "the question is not JSON"
    words = str(first["msg"]).removeprefix("Value error, ").replace("\n", " ")
    words = words[:1].lower() + words[1:]
    return f"{where}: {words}" if where else f"the question is wrong: {words}"
