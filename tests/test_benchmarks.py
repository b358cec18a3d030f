from __future__ import annotations

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import decoder_training, run
from benchmarks.common import describe_machine, verdict
from benchmarks.flops import forward_flops, training_flops
from inversionview.decoder.model import Decoder, DecoderConfig, RaggedRows

ROWS = [
    {"name": "a ratio", "value": 0.2, "unit": "x", "target": 0.35},
    {"name": "a rate", "value": 0.2, "unit": "of the best", "target": 0.3, "sense": "at least", "detail": "2 threads"},
    {"name": "a share", "value": 0.5, "unit": "of wall time"},
]


@pytest.fixture
def decoder():
    config = DecoderConfig(
        sites=("x0.pre", "a0.0"), d_activation=6, vocab_size=11, max_length=8, begin=8, end=9, pad=10,
        n_layers=3, n_heads=2, d_model=16, trunk_blocks=2, trunk_width=24, n_frequencies=2,
    )  # fmt: skip
    return Decoder(config)


RAGGED = (RaggedRows(3, 2), RaggedRows(2, 5), RaggedRows(4, 7))


def counted(decoder, *, backward):
    rows = sum(group.rows for group in RAGGED)
    tokens = torch.randint(0, 8, (rows, 8))
    activations, sites = torch.randn(rows, 6), torch.zeros(rows, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        logits = decoder(tokens, activations, sites, RAGGED)
        if backward:
            logits.sum().backward()
    return counter.get_total_flops()


def test_forward_flops_are_those_that_torch_counts(decoder):
    assert forward_flops(decoder.config, RAGGED) == counted(decoder, backward=False)


def test_training_flops_are_those_that_torch_counts_but_for_gradients_of_the_input(decoder):
    config = decoder.config
    of_the_input = 2 * 9 * config.d_activation * (1 + 2 * config.n_frequencies) * config.d_model
    assert training_flops(config, RAGGED) - of_the_input == counted(decoder, backward=True)


def test_a_target_is_met_on_its_own_side():
    assert [verdict(row) for row in ROWS] == ["met", "MISSED", ""]


def test_numbers_are_written_with_the_machine(tmp_path):
    machine = describe_machine()
    json_path, page_path = run.write(tmp_path / "results", machine, ROWS)
    document = json.loads(json_path.read_text())
    assert document["rows"] == ROWS
    assert document["machine"] == machine
    assert machine["torch"] == torch.__version__
    page = page_path.read_text()
    assert "| a rate | 0.2 of the best | at least 0.3 | MISSED | 2 threads |" in page
    assert machine["processor"] in page


def test_a_benchmark_that_fails_loses_no_other(monkeypatch, capsys, tmp_path):
    class Broken:
        def run(self):
            raise RuntimeError("no such file")

    class Working:
        def run(self, quick):
            return ROWS

    monkeypatch.setattr(run, "import_module", lambda name: Broken() if name.endswith("capture") else Working())
    assert run.main(["capture", "read", "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "failed: capture" in out
    assert "no such file" in err
    assert "a ratio" in out
    assert len(list(tmp_path.iterdir())) == 2
    assert run.main(["read", "--quick", "--out", str(tmp_path / "none")]) == 0
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::addmm", "matrix products of linear layers"),
        ("aten::bmm", "matrix products of attention"),
        ("aten::native_layer_norm_backward", "norms"),
        ("aten::_softmax_backward_data", "softmax and loss"),
        ("aten::copy_", "copies and casts"),
        ("aten::add_", "element-wise"),
        ("aten::gelu_backward", "element-wise"),
        ("aten::embedding_dense_backward", "lookups"),
        ("autograd::engine::evaluate_function: AddmmBackward0", "other"),
    ],
)
def test_operators_are_sorted_by_kind(operator, kind):
    assert decoder_training._kind(operator) == kind
