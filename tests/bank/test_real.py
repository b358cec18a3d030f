"""The bank of a real model, against Hugging Face's own hidden states."""

from __future__ import annotations

import torch

from inversionview.sites import Site
from inversionview.studies.study import open_study
from tests.real_models import SMOLLM2, load_real, real_model


@real_model(SMOLLM2)
def test_it_holds_the_hidden_states_of_the_model_and_heads_that_add_up_to_the_attention():
    probed = load_real(SMOLLM2)
    study = open_study("ioi", model=probed)
    bank = study.bank(["END", "S2"], sites=["residual", "a11", "attn11"], n=24)
    for role in bank.roles:
        rows, at = torch.arange(24), bank.positions(role)
        with torch.no_grad():
            states = probed.model(bank.tokens, output_hidden_states=True).hidden_states
        for site in bank.sites:
            if site.kind == "resid_post" and site.layer < probed.n_layers - 1:  # a norm follows the last one
                wanted = states[site.layer + 1][rows, at]
                torch.testing.assert_close(bank.activations(site, role, rows), wanted, atol=2e-3, rtol=1e-3)
        heads = [site for site in bank.sites if site.kind == "head"]
        assert all(bank.vectors(head, role).shape == (24, 64) for head in heads)
        together = sum(bank.activations(head, role, rows) for head in heads)
        attention = bank.activations(Site("attn_out", 11), role, rows)
        torch.testing.assert_close(together, attention, atol=1e-3, rtol=1e-3)
