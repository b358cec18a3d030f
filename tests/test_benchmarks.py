from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import decoder_training, reach, run
from benchmarks.common import describe_machine, verdict
from benchmarks.flops import forward_flops, training_flops
from inversionview.decoder.model import DecoderConfig, RaggedRows, own_decoder
from inversionview.preimage.sampled import query_activations
from inversionview.preimage.sources.retrieval import RetrievalSource
from inversionview.studies.study import Study
from tests.preimage import tiny

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
    return own_decoder(config)


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


def test_timing_the_updates_changes_nothing(decoder):
    rows = sum(group.rows for group in RAGGED)
    inputs = (torch.randint(0, 8, (rows, 8)), torch.randn(rows, 6), torch.zeros(rows, dtype=torch.long))
    objective = SimpleNamespace(
        module=decoder, batch=lambda step, size: inputs, loss=lambda module, batch: module(*batch, RAGGED).sum()
    )
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    plan = SimpleNamespace(training=SimpleNamespace(batch_size=9, matrices_every=2))
    updates = decoder_training.updates_seconds(objective, plan, 1)
    assert min(updates) > 0
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())
    assert all(parameter.grad is None for parameter in decoder.parameters())


def test_a_step_is_compared_with_one_of_torchs_updates():
    steps = decoder_training.Steps(0.25, 1.0, {}, 256)
    row = decoder_training._updates_row(decoder_training.Updates(0.05, 0.11), steps)
    assert row["value"] == pytest.approx(0.25 / 0.31)
    assert "20% of a step" in row["detail"]
    assert "35%" in row["detail"]


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


def place(text):
    a, b = text.split("=")[0].split("+")
    return (int(a) - 100) * 900 + int(b) - 100


def setting(members=(), lacking=(), forwards=10, queries=None):
    """Every input is far but `members`; `lacking` have no distance."""
    queries = queries or [tiny.query("615+861=1476", "=", "x0.pre")]
    distances = np.ones((len(queries), tiny.task().size), dtype=np.float32)
    distances[:, [place(text) for text in members]] = 0.05
    distances[:, [place(text) for text in lacking]] = np.inf
    z = query_activations(tiny.probed(), tiny.task(), queries)
    return reach.Setting(tiny.probed(), tiny.task(), tiny.decoder(), queries, z, distances, forwards)


def test_places_in_the_domain_are_in_the_order_of_its_enumeration():
    rows = torch.cat(list(tiny.task().enumerate())[3:5])
    assert np.array_equal(reach.domain_index(tiny.task(), rows), np.arange(3 * 65536, 5 * 65536))
    assert reach.domain_index(tiny.task(), tiny.rows("B615+861=1477E", "B999+999=1998E")).tolist() == [-1, 809_999]
    assert reach.domain_index(tiny.task(), tiny.task().encode("100+100=200")[None]).tolist() == [0]


def test_cells_are_two_a_site_at_eligible_positions_and_the_same_each_time():
    study = Study(tiny.probed(), tiny.task(), name="tiny", sites=tiny.SITES)
    queries = reach.cells(study, tiny.SITES)
    assert [query.site for query in queries] == [site for site in tiny.SITES for _ in range(2)]
    assert all(query.token_strings[query.position] not in "BE" for query in queries)
    assert len({query.input for query in queries}) == 10
    assert queries == reach.cells(study, tiny.SITES)
    assert len({query.position for query in queries}) > 2


def test_repeats_the_query_and_what_is_not_in_the_domain_count_for_nothing():
    source = tiny.Fixed(
        tiny.rows("B100+100=200E", "B100+100=200E", "B615+861=1476E", "B100+101=201E", "B1+1=2E", "B100+102=202E")
    )
    here = setting(members=("100+100=200", "615+861=1476"), lacking=("100+102=202",))
    found = reach.Found(members=1, forwards=3, draws=6 * reach.ROUNDS, in_domain=4 * reach.ROUNDS)
    assert reach.by_draws(here, [source]) == [found]
    assert here.members(0).sum() == 1


def test_a_source_stops_where_its_forwards_end():
    texts = ("100+100=200", "100+101=201", "100+102=202")
    source = tiny.Fixed(tiny.rows(*(f"B{text}E" for text in texts)))
    (found,) = reach.by_draws(setting(members=texts, forwards=2), [source])
    assert found == reach.Found(members=2, forwards=2, draws=2, in_domain=2)
    (found,) = reach.by_draws(setting(members=texts, forwards=3), [source])
    assert found == reach.Found(members=3, forwards=3, draws=3, in_domain=3)


def test_sources_of_a_mixture_take_their_forwards_by_chance():
    one, other = (
        tiny.Fixed(tiny.rows(*(f"B{a}+{b}={a + b}E" for b in range(100, 150))), name=str(a)) for a in (100, 200)
    )
    members = [f"100+{b}={100 + b}" for b in range(100, 150)]
    (found,) = reach.by_draws(setting(members=members, forwards=50), [one, other])
    assert 10 < found.members < 40


def test_every_source_spends_at_most_its_forwards_and_finds_members_only(monkeypatch):
    queries = [tiny.query("615+861=1476", "F2", "x0.pre"), tiny.query("234+567=801", "F1", "x0.pre")]
    monkeypatch.setattr(reach, "ROUNDS", 2)
    # The same everywhere: a digit of the first number, at the query's place.
    here = setting(queries=queries, forwards=20)
    rows = torch.cat(list(tiny.task().enumerate()))
    for i, query in enumerate(queries):
        here.distances[i][(rows[:, query.position] == query.tokens[query.position]).numpy()] = 0
    found = {name: find() for name, find in reach.finders(here, 500).items()}
    assert len(found) == 9
    for name, (first, second) in found.items():
        for each in (first, second):
            assert 0 <= each.members <= each.forwards <= 21, name
            assert each.in_domain <= each.draws
    assert [each.forwards for each in found["prior"]] == [20, 20]
    assert all(each.members > 10 for each in found["retrieval, 500 run before"])
    assert all(each.members > 0 for each in found["edits"])


def test_what_a_corpus_costs_can_be_counted():
    here = setting()
    source = RetrievalSource(probed=here.probed, task=here.task, n=5, size=50)
    assert [each.forwards for each in reach.by_retrieval(here, source, 7)] == [12]


def test_reach_is_the_mean_over_cells_that_have_members():
    found = [reach.Found(5, 10, 20, 10), reach.Found(0, 10, 10, 10), reach.Found(10, 10, 10, 10)]
    row = reach._row("a source", found, np.array([50, 0, 10]), 10)
    assert row["value"] == pytest.approx((5 / 50 + 10 / 10) / 2)
    assert "median 0.55; 0.75 of the most there is; 0.75 of draws in the domain; 0.75 new" in row["detail"]
    assert reach.most(np.array([50, 0, 10]), 10).tolist() == [0.2, 1.0]
