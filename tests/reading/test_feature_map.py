"""The map against the same numbers from one exact preimage after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inversionview.errors import UserError
from inversionview.preimage.domain import ModelDomain
from inversionview.preimage.exact import exact_preimages
from inversionview.probed.model import ProbedModel
from inversionview.reading.feature_map import feature_map
from inversionview.reading.information import preimage_bits
from inversionview.results.preimage import Query
from tests.preimage.tiny import FewSums, few_sums, gpt2, probed, rows, with_criterion

SITES = ("x0.pre", "a0.1", "x1.post")
READ = {
    "F2": rows("B100+100=200E", "B995+499=1494E", "B505+984=1489E"),
    "=": rows("B505+495=1000E", "B100+111=211E", "B615+861=1476E"),
    "A4": rows("B505+495=1000E", "B994+990=1984E"),
}


def epsilons(sites=SITES, roles=READ, of: float = 0.5):
    return {(site, role): of + 0.1 * i for i, site in enumerate(sites) for role in roles}


def queries(few: FewSums, role: str, site: str) -> list[Query]:
    found = []
    for row in READ[role]:
        strings = few.token_strings(row)
        at = int(few.position_of(row[None], role))
        found.append(
            Query("tiny", few.decode(row), tuple(row.tolist()[: len(strings)]), tuple(strings), at, role, site)
        )
    return found


@pytest.mark.parametrize(("metric", "tilt"), [("euclidean", 0.2), ("cosine", 0.0)])
def test_every_cell_is_what_the_exact_preimages_of_its_queries_say(metric, tilt):
    few, limits = few_sums(tilt), epsilons(of={"euclidean": 0.4, "cosine": 0.1}[metric])
    cells = feature_map(probed(), few, SITES, READ, epsilon=limits, metric=metric)
    assert {(cell.site, cell.role) for cell in cells} == set(limits)
    unlike = 0
    for cell in cells:
        options = {"epsilon": limits[cell.site, cell.role], "metric": metric}
        preimages = exact_preimages(probed(), few, queries(few, cell.role, cell.site), **with_criterion(options))
        assert cell.features == tuple(few.features)
        assert cell.bits.shape == cell.divergence.shape == (len(preimages), len(cell.features))
        for i, found in enumerate(preimages):
            known = preimage_bits(found, few)
            if not known:
                assert not len(found)
                assert cell.size_bits[i] == np.inf
                continue
            np.testing.assert_allclose(cell.of, [bits.of for bits in known], atol=1e-6)
            np.testing.assert_allclose(cell.bits[i], [bits.bits for bits in known], atol=1e-4)
            np.testing.assert_allclose(cell.divergence[i], [bits.divergence for bits in known], atol=1e-4)
            mass = np.exp(found.log_prior).sum()
            assert cell.size_bits[i] == pytest.approx(np.log2(found.domain_mass / mass), abs=1e-4)
            unlike += cell.size_bits[i] > 0.1
    assert unlike > 10


def test_a_digits_embedding_says_all_of_that_digit_and_nothing_of_the_other_number():
    few = few_sums()
    tokens = few.sample(20, generator=torch.Generator().manual_seed(0))
    [cell] = feature_map(probed(), few, ["x0.pre"], {"F2": tokens}, epsilon={("x0.pre", "F2"): 0.01})
    bits = dict(zip(cell.features, cell.bits.T, strict=True))
    of = dict(zip(cell.features, cell.of, strict=True))
    np.testing.assert_allclose(bits["F2"], of["F2"], atol=1e-6)
    for name in ("S1", "S2", "S3"):
        np.testing.assert_allclose(bits[name], 0, atol=1e-6)
    counts = np.array([(few.rows[:, 2] == digit).sum().item() for digit in tokens[:, 2]])
    np.testing.assert_allclose(cell.size_bits, np.log2(few.size / counts), atol=1e-6)


def test_the_mean_over_all_queries_is_what_the_activation_and_a_feature_share():
    """At x0.pre the digit at F2 splits the sums into classes; the mean is the mutual information with the class."""
    few, names = few_sums(), ("F1", "F3", "C2", "A1")
    [cell] = feature_map(probed(), few, ["x0.pre"], {"F2": few.rows}, epsilon={("x0.pre", "F2"): 0.01})
    mean = dict(zip(cell.features, cell.bits.mean(axis=0), strict=True))
    apart = dict(zip(cell.features, cell.divergence.mean(axis=0), strict=True))
    for name in names:
        code = few.features[name].compute(few.rows, torch.full((few.size,), 2)).numpy()
        joint = np.zeros((20, 10))
        np.add.at(joint, (code, few.rows[:, 2].numpy()), 1 / few.size)
        product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
        some = joint > 0
        shared = (joint[some] * np.log2(joint[some] / product[some])).sum()
        assert mean[name] == pytest.approx(shared, abs=1e-5)
        assert apart[name] == pytest.approx(shared, abs=1e-5)
    assert cell.bits.min() < -0.01, "one query may make a feature less certain"


def test_blocks_change_nothing_and_cells_without_an_epsilon_are_left_out():
    few, limits = few_sums(0.2), epsilons()
    del limits["a0.1", "="]
    whole = feature_map(probed(), few, SITES, READ, epsilon=limits)
    cut = feature_map(probed(), few, SITES, READ, epsilon=limits, domain=ModelDomain(probed(), few, block=70))
    assert [(cell.site, cell.role) for cell in whole] == list(limits)
    for one, other in zip(whole, cut, strict=True):
        assert one[:3] == other[:3]
        for a, b in zip(one[3:7], other[3:7], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_an_input_that_lacks_the_role_is_refused():
    with pytest.raises(UserError, match=r"100\+100=200 has no position 'A4' that could be read"):
        feature_map(probed(), few_sums(), SITES, {"A4": READ["F2"]}, epsilon=epsilons())


def test_an_activation_without_a_direction_is_refused_before_the_pass(monkeypatch):
    model = gpt2(seed=3)
    with torch.no_grad():
        model.transformer.wte.weight[12] = 0
    monkeypatch.setattr(ModelDomain, "blocks", lambda *_: pytest.fail("began the pass"))
    with pytest.raises(UserError, match="norm 0"):
        feature_map(ProbedModel(model), few_sums(), ["embed"], {"=": READ["="]}, epsilon={("embed", "="): 0.1})


def test_a_task_that_cannot_enumerate_is_refused():
    endless = FewSums([100, 200])
    endless.size = None
    with pytest.raises(UserError, match="cannot be enumerated"):
        feature_map(probed(), endless, SITES, READ, epsilon=epsilons())
