"""A study of facts for a model that is given, and which of its activations are read."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

import inversionview as iv
from inversionview import cli
from inversionview.causal.head_selection import select_heads
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from inversionview.studies.facts_queries import choose_queries, heads_at_end
from inversionview.studies.recipes import DECODER_RECIPES, Budget
from inversionview.studies.recipes.base import TaskSource
from inversionview.studies.recipes.facts import QUERIED, facts, make_task
from inversionview.tasks.facts.task import FactsTask
from inversionview.tasks.outputs import exact_match
from inversionview.tasks.text.task import TextTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.studies.text_models import FAMILIES, random_model, some_texts
from tests.tasks.facts.files import counterfact, known_fact, write_bear
from tests.tasks.facts.tiny import small_table
from tests.tokenizers import byte_tokenizer


@pytest.fixture(scope="module")
def probed():
    model = random_model("gpt2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return ProbedModel(model, byte_tokenizer())


@pytest.fixture(scope="module")
def task(probed):
    return FactsTask(Vocabulary(probed.tokenizer), small_table())


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 20)

    def small_decoder(budget, seed):
        plan = facts(budget, seed)
        sizes = {"d_model": 16, "n_heads": 2, "trunk_blocks": 1, "trunk_width": 16}
        return dataclasses.replace(
            plan, decoder=sizes, rate_queries=2, training=dataclasses.replace(plan.training, batch_size=16)
        )

    monkeypatch.setitem(DECODER_RECIPES, "facts", small_decoder)


def run(capsys, *args):
    code = cli.main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 and "--json" in args else err


def test_the_commands_work_on_bear(probed, small, tmp_path, capsys):
    model, study, bear = tmp_path / "model", tmp_path / "study", write_bear(tmp_path / "bear")
    probed.model.save_pretrained(model)
    probed.tokenizer.save_pretrained(model)
    trained, err = run(capsys, "train", "facts", "--model", model, "--texts", bear, "--length", 20,
                       "--sites", "a0.1,a1.0", "--steps", 2, "--out", study)  # fmt: skip
    assert trained == 0, err
    text = "The capital of Morocco is Rabat."
    code, read = run(capsys, "read", study, text, "--at", "END", "--site", "a1.0", "-n", 20, "--json")
    assert code == 0, read
    assert (read["epsilon"], read["metric"]) == (0.25, "cosine")
    code, cells = run(capsys, "map", study, text, "--json")
    assert code == 0, cells
    assert {cell["at"] for cell in cells["cells"]} == {"subject_first", "subject_last", "END", "object"}
    code, patched = run(capsys, "patch", study, "--target", "object", "--at", "subject_last", "--sites", "a0.1",
                        "--contrast", "change:subject", "-n", 10, "--json")  # fmt: skip
    assert code == 0, patched


def published(folder):
    """Files of BEAR, COUNTERFACT and MiniPile as they are published, with little in them."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    write_bear(folder / "bear")
    entries = [
        counterfact(subject, "The mother tongue of {} is", tongue, [f"It rained. {subject} spoke"])
        for subject, tongue in (("Danielle Darrieux", "French"), ("Thomas Joannes Stieltjes", "Dutch"))
    ]
    (folder / "counterfact.json").write_text(json.dumps(entries))
    (folder / "minipile" / "data").mkdir(parents=True)
    documents = [". ".join(some_texts(200)[i : i + 4]) + "." for i in range(0, 200, 4)]
    pandas.DataFrame({"text": documents}).to_parquet(folder / "minipile" / "data" / "train-00000-of-00001.parquet")
    given = [folder / name for name in ("bear", "counterfact.json", "minipile")]
    return [part for path in given for part in ("--texts", path)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_commands_work_on_facts_and_texts_for_any_architecture(family, small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("inversionview.reading.information.PRIOR_DRAWS", 200)
    model, study = tmp_path / "model", tmp_path / "study"
    random_model(family).save_pretrained(model)
    byte_tokenizer().save_pretrained(model)
    texts = published(tmp_path)
    code, err = run(capsys, "train", "facts", "--model", model, *texts, "--length", 24, "--steps", 2, "--out", study,
                    "--convention", "tl" if family in ("gpt2", "gpt_neox") else "raw")  # fmt: skip
    assert code == 0, err
    described = json.loads((study / "study.json").read_text())
    assert (described["task"], described["recipe"], described["read"]) == ("facts-and-texts", "facts", "attended")
    assert sorted(described["sites"]) == ["a1.0", "a1.1"]
    opened = iv.load_study(study)
    assert tuple(described["sites"]) == heads_at_end(opened.probed, opened.task)
    text = "The mother tongue of Danielle Darrieux is French."
    code, read = run(capsys, "read", study, text, "--at", "END", "--site", "a1.0", "-n", 8, "--position-rule", "any",
                     "--also", "varied:cosine", "--json")  # fmt: skip
    assert code == 0, read
    assert (read["epsilon"], read["metric"], read["query"]["at"]) == (0.25, "cosine", "END")
    for text in ("Danielle Darrieux spoke French.", "The capital of West Bengal is Kolkata"):
        assert opened.query(text, "END", "a1.0").role == "END"
    assert opened.query("The dog saw a house.", "dog", "a1.0").position == 2
    code, rates = run(capsys, "evaluate", study, "-n", 10, "--json")
    assert code == 0, rates
    assert set(rates["sites"]) == set(described["sites"])
    code, cells = run(capsys, "map", study, "--queries", 2, "--draws", 300, "--sites", "a1.0", "--json")
    assert code == 0, cells
    assert {cell["at"] for cell in cells["cells"]} == {"subject_first", "subject_last", "END", "object"}
    code, patched = run(capsys, "patch", study, "--target", "object", "--at", "subject_last", "--sites", "a0.1",
                        "--contrast", "change:subject", "--where", "fact == 'yes'", "-n", 10, "--json")  # fmt: skip
    assert code == 0, patched


def test_a_run_keeps_its_heads_when_it_goes_on(probed, small, tmp_path, capsys):
    probed.model.save_pretrained(tmp_path / "model")
    probed.tokenizer.save_pretrained(tmp_path / "model")
    out = tmp_path / "study"
    given = ("--model", tmp_path / "model", *published(tmp_path)[:2], "--length", 24, "--steps", 2, "--out", out)
    assert run(capsys, "train", "facts", *given)[0] == 0
    before = json.loads((out / "study.json").read_text())
    assert (before["task"], before["read"], len(before["sites"])) == ("fact-table", "attended", 2)
    assert run(capsys, "train", out, "--resume", "--steps", 2, "--out", out)[0] == 0
    assert json.loads((out / "study.json").read_text()) == before


def test_heads_are_the_25_that_count_most_often_at_end(task, probed):
    model = random_model("gpt2", n_embd=24, n_layer=3, n_head=12)
    wide = ProbedModel(model, probed.tokenizer)
    heads = heads_at_end(wide, task, layers="all")
    assert len(heads) == len(set(heads)) == 25
    tokens = task.sample(500, generator=torch.Generator().manual_seed(0), split="train")
    chosen = select_heads(wide, tokens, task.position_of(tokens, "END"))
    counts = {head.site: head.counts for head in chosen.heads}
    assert min(counts[head] for head in heads) >= max(counts[head] for head in counts if head not in heads)


def test_a_task_without_an_end_has_no_heads_to_choose(probed):
    with pytest.raises(UserError, match="have no position END, at which heads are chosen: give --sites"):
        heads_at_end(probed, TextTask.from_texts(Vocabulary(probed.tokenizer), some_texts(200), 12))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["none.json"], "is not there: give a folder of BEAR"),
        (["minipile"], "there are no facts in"),
        (["some/name"], "no data set of that name can be reached"),
    ],
)
def test_what_holds_no_facts_is_one_line(probed, tmp_path, capsys, monkeypatch, given, said):
    def unreachable(self, name, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    published(tmp_path)
    texts = [part for name in given for part in ("--texts", name if "/" in name else tmp_path / name)]
    probed.model.save_pretrained(tmp_path / "model")
    probed.tokenizer.save_pretrained(tmp_path / "model")
    capsys.readouterr()
    code, err = run(capsys, "train", "facts", "--model", tmp_path / "model", *texts, "--out", tmp_path / "study")
    assert (code, len(err.splitlines())) == (2, 1)
    assert said in err


def test_without_texts_the_facts_are_the_bundled_ones(probed, tmp_path, capsys):
    probed.model.save_pretrained(tmp_path / "model")
    probed.tokenizer.save_pretrained(tmp_path / "model")
    code, err = run(capsys, "train", "facts", "--model", tmp_path / "model", "--length", 9, "--out", tmp_path / "study")
    assert code == 2
    assert "give --texts with a folder of BEAR or a COUNTERFACT file" in err
    with pytest.raises(UserError, match=r"has 32 positions, and the task needs 4\d"):
        iv.open_study("facts", model=probed)
    task = make_task(probed, TaskSource())
    assert (task.kind, task.size) == ("facts", 13188)
    assert task.contains(task.encode("The currency of Japan is the yen.")[None]).all()


def test_queries_are_half_at_end_and_never_where_the_head_rests(probed, task):
    queries = choose_queries(probed, task, "a0.1", 20)
    ends = task.position_of(queries.tokens, "END")
    assert (queries.positions[:10] == ends[:10]).all()
    assert (queries.to_begin < 0.6).all()
    to_begin = probed.attention(queries.tokens, 0)[:, 1, :, 0]
    least = to_begin.masked_fill(~task.eligible(queries.tokens), 2).amin(dim=1)
    assert torch.allclose(queries.to_begin[10:], least[10:])
    again = choose_queries(probed, task, "a0.1", 20)
    assert torch.equal(again.tokens, queries.tokens)
    with pytest.raises(UserError, match="no head of this model"):
        choose_queries(probed, task, "x0.pre", 4)


def test_heads_are_chosen_by_what_they_add_at_end(probed, task):
    heads = heads_at_end(probed, task, n=40, heads=3, layers="all")
    assert len(set(heads)) == 3
    assert all(Site.parse(head) in probed.sites for head in heads)


def test_of_the_upper_half_of_the_layers_heads_are_chosen_in_the_same_order(probed, task):
    deep = ProbedModel(random_model("gpt2", n_layer=5), probed.tokenizer)
    everywhere = heads_at_end(deep, task, n=40, heads=10, layers="all")
    upper = heads_at_end(deep, task, n=40)
    assert sorted(upper) == [f"a{layer}.{head}" for layer in (2, 3, 4) for head in (0, 1)]
    assert upper == tuple(head for head in everywhere if head in upper)


def test_the_published_heads_are_25_of_the_upper_half_of_gpt2_xl():
    sites = [Site.parse(head) for head in QUERIED]
    assert len(set(sites)) == 25
    assert all(site.kind == "head" and 24 <= site.layer < 48 and site.head < 25 for site in sites)
    assert (QUERIED[0], QUERIED[2], QUERIED[-1]) == ("a31.0", "a38.22", "a35.19")


def test_without_a_budget_a_run_is_as_long_as_the_papers():
    config = facts(Budget(), 0).training
    assert (config.batch_size, config.steps, config.minutes) == (128, 250_000, None)
    assert (facts(Budget(minutes=3), 0).training.minutes, facts(Budget(minutes=3), 0).training.steps) == (3, None)


def test_the_layers_of_the_choice_are_the_users_to_say(probed, small, tmp_path, capsys):
    probed.model.save_pretrained(tmp_path / "model")
    probed.tokenizer.save_pretrained(tmp_path / "model")
    given = ("--model", tmp_path / "model", *published(tmp_path)[:2], "--length", 24, "--steps", 1)
    code, err = run(capsys, "train", "facts", *given, "--layers", "all", "--out", tmp_path / "all")
    assert code == 0, err
    sites = json.loads((tmp_path / "all" / "study.json").read_text())["sites"]
    assert sorted(sites) == ["a0.0", "a0.1", "a1.0", "a1.1"]
    code, chosen = run(capsys, "heads", tmp_path / "all", "--layers", "upper", "-n", 20, "--json")
    assert code == 0, chosen
    assert (chosen["layers"], [part["site"] for part in chosen["parts"]]) == ("upper", ["x1.pre", "a1.0", "a1.1"])
    for more in (("--sites", "heads"), ("--resume",)):
        source = tmp_path / "all" if more == ("--resume",) else "facts"
        code, err = run(capsys, "train", source, *(() if more == ("--resume",) else given), "--layers", "all", *more,
                        "--out", tmp_path / ("all" if more == ("--resume",) else "other"))  # fmt: skip
        assert (code, len(err.splitlines())) == (2, 1)
        assert "--layers says of which layers a new run chooses its heads" in err


def test_heads_are_chosen_in_known_facts(probed, task, tmp_path):
    facts = [
        ("Peru", "Peru is on the continent of", "America"),
        ("Danielle Darrieux", "Danielle Darrieux spoke", "French"),
    ]
    (tmp_path / "known_1000.json").write_text(json.dumps([known_fact(*fact) for fact in facts]))
    found = iv.Study(probed, task, epsilon=0.1).head_selection(texts=tmp_path / "known_1000.json")
    ids = [Vocabulary(probed.tokenizer).row(probed.tokenizer(prompt)["input_ids"])[:-1] for _, prompt, _ in facts]
    shares = [select_heads(probed, row[None], len(row) - 1).parts for row in ids]
    assert found.n == 2
    for part, first, second in zip(found.parts, *shares, strict=True):
        assert part.proximity == pytest.approx((first.proximity + second.proximity) / 2, abs=1e-6)
        assert part.counts == (first.counts + second.counts) / 2
    with pytest.raises(UserError, match="facts have no position 'S2' to choose heads at"):
        iv.Study(probed, task, epsilon=0.1).head_selection("S2", texts=tmp_path / "known_1000.json")


@pytest.mark.slow
def test_the_bundled_study_knows_its_facts_and_its_decoder_finds_members():
    study = iv.load_study("facts-small")
    rows = torch.cat(list(study.task.enumerate()))
    assert exact_match(study.probed, study.task, rows[study.task.is_held_out(rows)]) >= 0.95
    found = study.evaluate(n=60, cells=0)
    assert found.in_domain == 1
    assert found.mean.same.rate > found.mean.same.floor + 0.1
    query = study.query("The currency of Japan is the yen.", at="END", site="x3.post")
    members = study.exact_preimage(query)
    assert query.input in members.inputs
