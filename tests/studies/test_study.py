from __future__ import annotations

import json
import shutil
from collections import Counter

import numpy as np
import pytest
import torch

from inversionview.criterion import Criterion
from inversionview.errors import UserError
from inversionview.preimage.exact import exact_preimages
from inversionview.probed.model import ProbedModel
from inversionview.reading.information import preimage_bits
from inversionview.results.preimage import Preimage
from inversionview.sites import Site
from inversionview.studies import description
from inversionview.studies.study import load_study
from tests.preimage import tiny
from tests.preimage.tiny import SITES, FewSums, few_sums, gpt2, probed, save_study, task, with_criterion


@pytest.fixture(autouse=True)
def small_domain(monkeypatch):
    """What is said of a preimage takes the whole domain of its task."""
    monkeypatch.setattr("inversionview.studies.folder.get_task", lambda name, *of: few_sums())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_study(tmp_path_factory.mktemp("study") / "tiny")


@pytest.fixture(scope="module")
def study():
    return tiny.study()


def edited(folder, tmp_path, change):
    """A copy of the study whose description was changed."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    content = json.loads((copy / "study.json").read_text())
    change(content)
    (copy / "study.json").write_text(json.dumps(content))
    return copy


def test_a_reading_from_text_to_verified_members(study):
    query = study.query("615+861=1476", at="=", site="a0.0")
    assert (query.position, query.role, query.site, query.study) == (8, "=", "a0.0", "tiny")
    found = study.preimage(query, n=80, seed=0)
    assert isinstance(found, Preimage)
    assert found.n_drawn == 80
    assert found.epsilon == 0.5
    assert found.metric == "euclidean"
    assert found.colors.shape == found.tokens.shape
    assert np.abs(found.colors).max() <= 1
    assert "begin token" in found.colors_about
    assert study.preimage(query, n=80, seed=0).to_dict() == found.to_dict()


def test_every_setting_reaches_the_result(study):
    query = study.query("615+861=1476", at="=", site="a0.0")
    found = study.preimage(
        query,
        n=30,
        epsilon=0.7,
        metric="cosine",
        position_rule="any",
        seed=5,
        temperatures=(1.0, 2.0),
        noise=(0.0, 0.1),
        colors=False,
    )
    assert (found.epsilon, found.metric, found.position_rule, found.seed) == (0.7, "cosine", "any", 5)
    assert drawn_by_source(found) == {
        "decoder t=1": 7,
        "decoder t=1, noise 0.1": 7,
        "decoder t=2": 7,
        "decoder t=2, noise 0.1": 6,
        "prior": 3,
    }
    assert [component.source for component in found.components] == ["decoder t=1", "decoder t=2", "prior"]
    assert found.colors is None


def drawn_by_source(found: Preimage) -> Counter[str]:
    return sum((Counter(times) for times in found.sources), Counter())


@pytest.mark.parametrize(("share", "n"), [(0, 0), (0.001, 1), (0.5, 20), (0.9, 36)])
def test_the_priors_share_of_the_draws(study, share, n):
    query = study.query("500+990=1490", site="x0.post")
    drawn = drawn_by_source(study.preimage(query, n=40, prior_share=share, colors=False))
    assert drawn == Counter({"decoder t=1": 40 - n}) + Counter({"prior": n})


def test_what_is_said_of_a_preimage_comes_with_it(study):
    query = study.query("500+990=1490", at="A1", site="x0.post")
    found = study.preimage(query, n=400, prior_share=0.9, colors=False)
    known = {bits.name: bits for bits in found.bits}
    assert set(known) == set(study.task.features)
    assert known["F1"].interval is not None
    assert found.epsilon_from == ""
    document = found.to_dict()
    assert document["size"]["domain"] == 1156
    assert document["size"]["inputs"] == pytest.approx(study.exact_preimage(query).n_inside, rel=0.3)
    assert {source["name"] for source in document["sources"]} == {"decoder t=1", "prior"}


@pytest.mark.parametrize("rule", ["same", "any"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_an_exact_reading_is_of_the_whole_domain(study, rule, metric):
    """Members and their distances are those of the search, whatever was asked beside it."""
    queries = [study.query("500+990=1490", "A4", "x0.post"), study.query("100+101=201", "F2", "x1.post")]
    options = {"epsilon": 0.4, "metric": metric, "position_rule": rule}
    found = study.exact_preimages(queries, **options)
    expected = exact_preimages(probed(), few_sums(), queries, **with_criterion(options))
    for one, other in zip(found, expected, strict=True):
        assert one.exact
        assert 0 < len(one) == len(other)
        assert list(one.inputs) == list(other.inputs)
        np.testing.assert_array_equal(one.distances, other.distances)
        assert (one.epsilon, one.metric, one.position_rule) == (0.4, metric, rule)
        assert one.bits == tuple(preimage_bits(other, few_sums()))
    alone = study.exact_preimage(queries[1], **options)
    assert set(alone.members) == set(found[1].members)
    np.testing.assert_allclose(alone.distances, found[1].distances, atol=1e-6)
    assert study.exact_preimages([]) == []


def test_the_curve_of_an_exact_reading_says_what_other_epsilons_give(study):
    query = study.query("500+990=1490", at="A4", site="x0.post")
    found = study.exact_preimage(query, epsilon=0.3, curve=True)
    assert study.exact_preimage(query, epsilon=0.3).curve == ()
    points = {point.epsilon: point for point in found.curve}
    assert {0.1, 0.2, 0.3, 0.5} <= set(points)
    for epsilon in (0.05, 0.2, 0.3, 0.5):
        other = study.exact_preimage(query, epsilon=epsilon)
        assert points[epsilon].inside == len(other) > 0
        assert points[epsilon].log2_domain_over_preimage == pytest.approx(np.log2(other.domain_size / len(other)))


def test_an_index_answers_later_readings_without_the_model(folder, tmp_path, monkeypatch):
    study = load_study(folder)
    query = study.query("500+990=1490", at="A4", site="x0.post")
    without = study.exact_preimage(query)
    assert study.exact_preimage(query, index=tmp_path / "index").to_dict() == without.to_dict()
    assert list((tmp_path / "index").iterdir())
    other = load_study(folder)
    runs = []
    real = other.probed.capture_prefixes
    monkeypatch.setattr(other.probed, "capture_prefixes", lambda *a: runs.append(a) or real(*a))
    assert other.exact_preimage(query, index=tmp_path / "index").to_dict() == without.to_dict()
    assert runs == []
    other.exact_preimage(query)
    assert runs


@pytest.mark.parametrize("read", ["preimages", "exact_preimages"])
def test_an_epsilon_by_rule_is_the_queries_own(study, monkeypatch, read):
    from inversionview.preimage.epsilon import calibration

    monkeypatch.setattr(calibration, "QUERY_PAIRS", 1000)
    queries = [study.query("500+990=1490", at, "x1.post") for at in ("A4", "=")]
    found = getattr(study, read)(queries, epsilon="null:0.05", seed=2)
    assert found[0].epsilon != found[1].epsilon
    for one in found:
        assert one.epsilon_from.startswith("null:0.05: 0.05 of 1000 unrelated pairs are within ")
        assert one.at_epsilon(one.epsilon).n_inside == one.n_inside
    assert getattr(study, read)(queries[:1], epsilon="null:0.05", seed=2)[0].epsilon == found[0].epsilon
    assert getattr(study, read)(queries[:1], epsilon="null:0.05", seed=3)[0].epsilon != found[0].epsilon
    [causal] = getattr(study, read)(queries[:1], epsilon="causal:0.5")
    assert causal.epsilon_from.startswith("causal:0.5: ")
    assert getattr(study, read)(queries[:1], epsilon="0.25")[0].epsilon == 0.25
    assert getattr(study, read)(queries[:1])[0].epsilon_from == ""


def test_a_study_without_a_decoder_can_be_read_exactly():
    without = tiny.study(with_decoder=False)
    query = without.query("500+990=1490", site="x0.post")
    found = without.exact_preimage(query, epsilon="causal:0.5")
    assert "500+990=1490" in found.members
    assert found.epsilon_from
    assert without.map("500+990=1490", sites=["x0.post"]).cells


def test_a_task_that_cannot_enumerate_says_what_can_be_done():
    endless = FewSums((100, 101))
    endless.size = None
    study = tiny.study(endless)
    query = study.query("500+990=1490", site="x0.post")
    for ask in (lambda: study.exact_preimage(query), study.validate):
        with pytest.raises(UserError, match="cannot be enumerated, so nothing about them is exact: read a sample"):
            ask()
    assert study.map(queries=2, sites=["x0.post"], draws=100).exact is False


def test_another_model_of_the_same_task_is_read_without_a_decoder(folder, tmp_path):
    study = load_study(folder)
    gpt2(seed=9).save_pretrained(tmp_path / "other")
    other = study.with_model(tmp_path / "other", convention="raw")
    assert (other.name, other.sites, other.probed.convention) == ("other", study.sites, "raw")
    model = ProbedModel(gpt2(seed=9))
    assert other.probed.fingerprint == model.fingerprint != study.probed.fingerprint
    query = other.query("500+990=1490", site="x0.post")
    found = other.exact_preimage(query)
    [expected] = exact_preimages(model, few_sums(), [query], criterion=Criterion.parse(0.5))
    assert found.members == expected.members
    assert found.query.study == "other"
    assert other.exact_preimage(query).members != study.exact_preimage(query).members
    assert study.with_model(tmp_path / "other").probed.convention == "tl"
    with pytest.raises(UserError, match="study other has no decoder yet"):
        other.evaluate()
    assert other.decoder is None
    assert {name for of in other.preimage(query, n=50).sources for name in of} == {"prior"}
    assert study.decoder is not None


def test_another_model_that_cannot_be_says_why(study, tmp_path):
    gpt2(n_layer=1).save_pretrained(tmp_path / "shallow")
    with pytest.raises(UserError, match=r"shallow has no site x1\.post, which study tiny reads"):
        study.with_model(tmp_path / "shallow")
    with pytest.raises(UserError, match="there is no folder"):
        study.with_model(tmp_path / "nowhere" / "at" / "all")


def test_many_queries_in_one_call_give_a_list(study):
    queries = [study.query("615+861=1476", at, site) for at in ("=", "A4") for site in SITES]
    found = study.preimages(queries, n=20)
    assert [preimage.query for preimage in found] == queries
    alone = study.preimage(queries[5], n=20)
    assert alone.inputs == found[5].inputs
    np.testing.assert_allclose(alone.colors, found[5].colors, atol=1e-5)
    assert study.preimages([], n=20) == []


@pytest.mark.parametrize(
    ("at", "position", "role"), [(None, 12, "A4"), ("A1", 9, "A1"), (8, 8, "="), ("8", 8, "="), ("+", 4, "+")]
)
def test_a_position_is_a_role_or_an_index_or_the_last(study, at, position, role):
    query = study.query(" 615+861=1476 ", at=at, site="a0.0")
    assert (query.position, query.role, query.input) == (position, role, "615+861=1476")
    assert query.tokens == (10, 6, 1, 5, 11, 8, 6, 1, 12, 1, 4, 7, 6, 13)
    assert "".join(query.token_strings) == "B615+861=1476E"


def test_without_a_position_the_last_digit_of_a_short_sum_is_read(study):
    assert study.query("100+200=300", site="a0.0").role == "A3"


@pytest.mark.parametrize("site", ["a0.0", "blocks.0.attn.hook_result.0", Site("head", 0, 0)])
def test_a_site_has_any_of_its_names(study, site):
    assert study.query("615+861=1476", site=site).site == "a0.0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"at": "A5"}, "615+861=1476 has no position 'A5'; its positions are F1 F2 F3 + S1 S2 S3 = A1 A2"),
        ({"at": 14}, "has no position '14'; its positions are F1"),
        ({"at": "-1"}, "has no position '-1'"),
        ({"at": 0}, "position 0 of 615+861=1476 is its begin token, which is never read; its positions are F1"),
        ({"at": 13}, "position 13 of 615+861=1476 is its end token"),
        ({"at": "B"}, "has no position 'B'"),
        ({"site": "a7.0"}, "the decoder of tiny was not trained on site a7.0; the sites of tiny are: x0.pre, a0.0"),
        ({"site": "nowhere"}, "unknown site 'nowhere'; the sites of tiny are: x0.pre"),
        ({"site": None}, "give a site to read; the sites of tiny are: x0.pre"),
        ({"text": "615+861=1477"}, "615+861 is 1476, not '1477'"),
        ({"text": "6a5+861=1476"}, "does not tokenise: 'a' at character 1"),
        ({"text": ""}, "not an input of addition"),
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_says_what_there_is(study, arguments, words):
    given = {"text": "615+861=1476", "at": "=", "site": "a0.0"} | arguments
    with pytest.raises(UserError) as raised:
        study.query(**given)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_short_sum_lacks_its_fourth_digit(study):
    with pytest.raises(UserError, match=r"100\+200=300 has no position 'A4'; its positions are F1 .* A3, or 1 to 11"):
        study.query("100+200=300", at="A4", site="a0.0")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epsilon": 0.0}, "epsilon must be a number above 0"),
        ({"epsilon": -0.1}, "epsilon must be a number above 0"),
        ({"epsilon": float("nan")}, "epsilon must be a number above 0"),
        ({"n": 0}, "n is 0, and with 1 for the prior too few are left"),
        ({"n": -5, "prior_share": 0}, "n is -5, and with 0 for the prior too few are left"),
        ({"metric": "manhattan"}, "unknown metric"),
        ({"position_rule": "best"}, "unknown position rule"),
        ({"temperatures": (0.0,)}, "temperature must be above 0"),
        ({"epsilon": "wide"}, "epsilon must be a number above 0, such as 0.1, a share of unrelated pairs .* not wide"),
        ({"epsilon": "null:2"}, "such as null:0.01, .* not null:2"),
        ({"epsilon": "casual:0.1"}, "such as causal:0.05, not casual:0.1"),
        ({"prior_share": 1.0}, "the prior's share must be at least 0 and below 1, such as 0.1, not 1"),
        ({"prior_share": -0.1}, "the prior's share must be at least 0"),
        ({"n": 1}, "n is 1, and with 1 for the prior too few are left"),
    ],
)
def test_settings_that_cannot_be_are_refused(study, settings, words):
    query = study.query("615+861=1476", site="a0.0")
    with pytest.raises(UserError, match=words):
        study.preimage(query, **settings)


def test_a_query_of_a_site_that_another_study_has_is_refused(study):
    import dataclasses

    query = dataclasses.replace(study.query("615+861=1476", site="a0.0"), site="a1.1")
    with pytest.raises(UserError, match=r"not trained on site a1\.1"):
        study.preimage(query)


def test_evaluate_gives_the_document_of_the_contract(study, monkeypatch):
    monkeypatch.setattr("inversionview.studies.verbs.evaluate.ACCURACY_INPUTS", 500)
    found = json.loads(json.dumps(study.evaluate(20, cells=0, seed=1).to_dict(), allow_nan=False))
    assert found["schema"] == 1
    assert found["study"] == "tiny"
    assert found["epsilon"] == 0.5
    assert tuple(found["sites"]) == SITES
    for rates in (*found["sites"].values(), found["mean"]):
        assert set(rates) == {"any", "same"}
        for rate in rates.values():
            assert set(rate) == {"rate", "se", "floor"}
            assert 0 <= rate["rate"] <= 1
            assert 0 <= rate["floor"] <= 1
    for rule in ("any", "same"):
        rates = [found["sites"][site][rule] for site in SITES]
        assert found["mean"][rule]["rate"] == pytest.approx(np.mean([r["rate"] for r in rates]))
        assert found["mean"][rule]["floor"] == pytest.approx(np.mean([r["floor"] for r in rates]))
        # Of a mean over inputs that sites share: at most as if all sites hit the same ones.
        assert 0 <= found["mean"][rule]["se"] <= np.mean([r["se"] for r in rates]) + 1e-12
        for r in rates:
            assert r["se"] == pytest.approx((r["rate"] * (1 - r["rate"]) / 20) ** 0.5)
    assert 0 <= found["in_domain"] <= 1
    assert found["accuracy"] < 0.01
    assert study.evaluate(20, cells=0, seed=1) == study.evaluate(20, cells=0, seed=1)
    with pytest.raises(UserError, match="n must be at least 1"):
        study.evaluate(0)


def test_accuracy_is_greedy_exact_match(monkeypatch):
    """Teacher forcing counts as right just what a plain greedy loop gets right."""
    from inversionview.tasks.outputs import exact_match

    sums = task().sample(200, generator=torch.Generator().manual_seed(0), split="held-out")
    model = probed()

    def greedy(row: torch.Tensor) -> bool:
        tokens = row[:9].tolist()
        while len(tokens) < 14:
            with torch.no_grad():
                tokens.append(int(model.model(torch.tensor([tokens])).logits[0, -1].argmax()))
            if tokens[-1] == 13:
                break
        length = row.tolist().index(13) + 1
        return tokens == row[:length].tolist()

    real = model.logits

    def knowing_some(tokens, *, positions):
        """A model that knows the sums whose first digit is even: logits a greedy loop would follow."""
        logits = real(tokens, positions=positions)
        number = tokens[:, 1:4] @ torch.tensor([100, 10, 1]) + tokens[:, 5:8] @ torch.tensor([100, 10, 1])
        for row in (tokens[:, 1] % 2 == 0).nonzero()[:, 0].tolist():
            answer = [*map(int, str(int(number[row]))), 13]
            for column, position in enumerate(positions[row].tolist()):
                if 8 <= position < 8 + len(answer):
                    logits[row, column] = (
                        torch.nn.functional.one_hot(torch.tensor(answer[position - 8]), 15).float() * 100
                    )
        return logits

    expected = np.mean([greedy(row) for row in sums])
    assert exact_match(model, task(), sums, block=64) == pytest.approx(expected)
    monkeypatch.setattr(model, "logits", knowing_some)
    even = (sums[:, 1] % 2 == 0).float().mean().item()
    assert exact_match(model, task(), sums, block=64) == pytest.approx(even, abs=0.02)


@pytest.mark.published("models/paper_addition")
def test_the_paper_models_accuracy_over_all_sums_is_the_known_one():
    from inversionview.tasks.outputs import exact_match
    from tests.paths import SHARED

    model = ProbedModel.from_pretrained(SHARED / "models" / "paper_addition")
    sums = task().sample(20_000, generator=torch.Generator().manual_seed(0))
    assert exact_match(model, task(), sums) == pytest.approx(0.98035, abs=0.004)


def test_unknown_studies_and_folders_that_are_none_say_what_there_is(tmp_path):
    with pytest.raises(
        UserError, match="there is no study 'subtraction': give a study's folder, or user/name on the hub; the bundled"
    ):
        load_study("subtraction")
    with pytest.raises(UserError, match=r"is not a study: it has no study\.json"):
        load_study(tmp_path)


def test_bundled_studies_are_found_by_name(monkeypatch, folder):
    monkeypatch.setattr(description, "bundled_studies", lambda: {"small": folder})
    assert load_study("small").folder == folder


def change(**fields):
    return lambda content: content.update(fields)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change(schema=2), "was written by a newer inversionview"),
        (change(schema=None), "has no schema version"),
        (lambda content: content.pop("task"), "is damaged: task is missing"),
        (change(sites="a0.0"), "is damaged: sites is 'a0.0'"),
        (change(sites=["z9"]), "unknown site 'z9'"),
        (change(epsilon=0), "epsilon must be a number above 0"),
    ],
)
def test_a_damaged_description_is_named(folder, tmp_path, edit, words):
    with pytest.raises(UserError) as raised:
        load_study(edited(folder, tmp_path, edit))
    assert words in str(raised.value)


def test_truncated_files_of_a_study_are_named(folder, tmp_path):
    copy = tmp_path / "copy"
    for name in ("study.json", "probed/model.safetensors", "probed/config.json", "decoder/model.safetensors",
                 "decoder/config.json"):  # fmt: skip
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError) as raised:
            _ = load_study(copy).decoder
        assert name.split("/")[-1] in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_study_without_a_decoder_says_how_to_get_one(tmp_path):
    without = load_study(save_study(tmp_path / "s", with_decoder=False))
    query = without.query("500+990=1490", site="a0.0")
    with pytest.raises(UserError, match="study tiny has no decoder yet: train one with `inversionview train"):
        without.evaluate()
    with pytest.raises(UserError, match="has no decoder yet"):
        without.validate()
    for source in ("cosine", "varied:0.9"):
        with pytest.raises(UserError, match=f"{source} draws from a decoder, and there is none"):
            without.preimage(query, n=20, also=[source])


def test_without_a_decoder_all_is_drawn_from_the_prior(study):
    without = tiny.study(with_decoder=False)
    query = without.query("500+990=1490", at="A4", site="x0.post")
    found = without.preimage(query, n=300, also=["edits"])
    assert drawn_by_source(found) == {"prior": 300, "edits": 75}
    assert found.colors is None
    assert found.epsilon == 0.5
    exact = without.exact_preimage(query)
    assert set(found.members) <= set(exact.members)
    assert json.dumps(found.to_dict(), allow_nan=False)
    with pytest.raises(UserError, match="n must be at least 1"):
        without.preimage(query, n=0)
    sampled = without.causal(query, n=20, exact=False, draws=400)
    assert 0 < sampled.inside < exact.n_inside


def test_another_probed_model_than_the_studys_is_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    gpt2(seed=9).save_pretrained(copy / "probed")
    with pytest.raises(UserError, match="is not the one of study tiny: its fingerprint is"):
        _ = load_study(copy).probed


def test_a_decoder_of_another_probed_model_is_refused_with_both_named(folder, tmp_path):

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    other = gpt2(seed=9)
    other.save_pretrained(copy / "probed")
    fingerprint = ProbedModel(other).fingerprint
    content = json.loads((copy / "study.json").read_text())
    (copy / "study.json").write_text(json.dumps(content | {"fingerprint": fingerprint}))
    with pytest.raises(UserError) as raised:
        _ = load_study(copy).decoder
    assert fingerprint[:8] in str(raised.value)
    assert probed().fingerprint[:8] in str(raised.value)


def test_a_decoder_for_another_convention_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="convention"):
        _ = load_study(edited(folder, tmp_path, change(convention="raw"))).decoder


def test_a_decoder_of_other_sites_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"was trained on sites x0\.pre, a0\.0"):
        _ = load_study(edited(folder, tmp_path, change(sites=["x0.pre"]))).decoder
