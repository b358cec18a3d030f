"""Sites that no study chooses by itself, attention inputs, z, neurons and views, through every verb."""

import json

import pytest
import torch

import inversionview as iv
from inversionview.errors import UserError
from inversionview.probed.model import ProbedModel
from tests.preimage.tiny import FewSums, few_sums, probed

INPUT = "615+861=1476"


@pytest.fixture(scope="module")
def study():
    """The bundled study of addition, with a random subspace of the residual stream after its first layer."""
    study = iv.load_study("addition")
    basis = torch.linalg.qr(torch.randn(study.probed.d_model, 4, generator=torch.Generator().manual_seed(0))).Q
    study.probed.add_view("subspace", of="x0.post", encode=basis, decode=basis.T)
    return study


@pytest.mark.parametrize("site", ["subspace", "q1.0", "k1.0", "v1.0", "z1.0", "n1"])
def test_it_is_read_from_the_prior_where_the_decoder_was_not_trained_on_it(study, site):
    query, own = study.query(INPUT, at="=", site=site), study.query(INPUT, at="=", site="a1.0")
    alone = study.preimage(query, n=40)
    assert {name for row in alone.sources for name in row} == {"prior"}
    assert json.loads(json.dumps(alone.to_dict()))["query"]["site"] == site
    among = study.preimages([own, query, own], n=40)
    assert among[1].inputs == alone.inputs
    assert "decoder t=1" in among[0].sources[0] or "decoder t=1" in among[2].sources[0]
    assert among[0].query == own
    assert study.causal(query, n=10, exact=False, draws=200)


def test_a_patch_and_a_map_of_a_view(study):
    few = FewSums(sorted({615, 861, *range(100, 1000, 30)}))
    cells = iv.Study(study.probed, few, epsilon=0.1, name="few").map(INPUT, sites=["subspace", "z0.1"]).cells
    assert {cell.site for cell in cells} == {"subspace", "z0.1"}
    effects = study.patch(target="A1", sites="subspace@=,x0.post@=", contrast="change:F1", n=20, order="each").to_dict()
    through_it, whole = (effect["patched"] for effect in effects["effects"])
    assert through_it != whole


def test_what_was_not_chosen_for_a_study_is_still_refused(study):
    for site in ("x9.post", "nothing", "a7.0"):
        with pytest.raises(UserError, match="the sites of addition are"):
            study.query(INPUT, site=site)
    with pytest.raises(UserError, match="subspace is not written in the basis of the residual stream"):
        study.logit_attribution(study.query(INPUT, site="subspace"))


def test_a_view_is_not_kept_in_a_folder(study, tmp_path):
    live = iv.Study(study.probed, study.task, sites=["subspace"])
    assert live.sites == ("subspace",)
    with pytest.raises(UserError, match="the view subspace is of this session"):
        live.save(tmp_path / "kept")


def test_a_decoder_trained_on_a_view_belongs_to_that_view(study):
    from inversionview.decoder.loading import check_belongs
    from inversionview.decoder.training import make_decoder

    view = study.probed.site("subspace")
    decoder = make_decoder(study.probed, study.task, [view], n_statistics=64, d_model=8, n_heads=1, trunk_width=8)
    check_belongs(decoder.config, study.probed, "mine")
    other = ProbedModel(study.probed.model, study.probed.tokenizer, study.probed.convention)
    with pytest.raises(UserError, match="was trained on the probed model"):
        check_belongs(decoder.config, other, "mine")
    other.add_view("subspace", of="x0.post", encode=torch.eye(other.d_model)[:, :4])
    with pytest.raises(UserError, match="was trained on the probed model"):
        check_belongs(decoder.config, other, "mine")


def test_kept_activations_of_a_view_are_of_that_view_alone(tmp_path):
    from inversionview.preimage.index import IndexedDomain, build_index

    few = few_sums()
    model = ProbedModel(probed().model, convention=probed().convention)
    model.add_view("part", of="x0.post", encode=torch.eye(model.d_model)[:, :3])
    for site in ("part", "z0.0"):
        build_index(model, few, site, tmp_path)
    domain = IndexedDomain(tmp_path, model, few)
    assert set(map(str, domain.sites)) == {"part", "z0.0"}
    kept = next(iter(domain.blocks(domain.sites, None))).read.at
    assert {str(site): next(iter(values.values())).shape[1] for site, values in kept.items()} == {
        str(site): model.width(site) for site in domain.sites
    }
    other = ProbedModel(model.model, convention=model.convention)
    other.add_view("part", of="x1.post", encode=torch.eye(model.d_model)[:, :3])
    with pytest.raises(UserError, match="fingerprint"):
        IndexedDomain(tmp_path, other, few)
