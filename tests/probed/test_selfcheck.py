import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

import inversionview as iv
from inversionview.errors import UserError
from inversionview.probed import architectures
from inversionview.probed.model import ProbedModel
from inversionview.sites import Site
from tests.probed.tiny import MODELS, every_site, some_tokens, tiny


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_architecture_passes(name, dtype):
    ProbedModel(tiny(name).to(dtype))


WRONG_ROWS = [
    ("gpt2", {"ln2": "ln_1"}, "x0.mid differs"),
    ("gpt2", {"mlp_out": "mlp.c_fc"}, "m0 has 64 numbers"),
    ("gpt2", {"mlp_out": "ln_2"}, "x0.post differs"),
    ("gpt2", {"attn_out": "ln_1"}, "x0.mid differs"),
    ("gpt2", {"layout": "by head"}, "z of the heads"),
    ("gpt2", {"pos_embed": "wte"}, "sum of the embeddings"),
    ("gpt_neox", {"layout": "queries|keys|values"}, "z of the heads"),
    ("gpt_neox", {"is_parallel": lambda config: False}, "x0.mid differs"),
    ("gemma2", {"attn_out": "self_attn"}, "x0.mid differs"),
    ("gemma2", {"mlp_out": "mlp"}, "x0.post differs"),
    ("llama", {"value": "self_attn.k_proj"}, "z of the heads"),
    ("llama", {"query": "self_attn.k_proj"}, "has 2 heads of query where the configuration has 4"),
    ("llama", {"down": "mlp.up_proj"}, "m0 differs from what n0"),
    ("gemma2", {"down": "self_attn.o_proj"}, "m0 differs from what n0"),
]


@pytest.mark.parametrize(("name", "change", "message"), WRONG_ROWS)
def test_a_wrong_row_of_the_table_is_refused(name, change, message, monkeypatch):
    model_type = name.split()[0]
    monkeypatch.setitem(
        architectures.ARCHITECTURES, model_type, replace(architectures.ARCHITECTURES[model_type], **change)
    )
    with pytest.raises(UserError, match=message):
        ProbedModel(tiny(name))


def test_a_projection_that_is_not_what_its_weight_says():
    model = tiny("gpt2")
    model.transformer.h[1].attn.c_proj.register_forward_hook(lambda module, args, output: output * 2)
    with pytest.raises(UserError, match=r"heads of layer 1 differs.* by 0\.\d"):
        ProbedModel(model)


def test_a_block_whose_output_is_not_the_next_ones_input():
    model = tiny("llama")
    model.model.layers[1].register_forward_pre_hook(lambda module, args: (args[0] + 1, *args[1:]))
    with pytest.raises(UserError, match=r"x1\.pre differs from the model's hidden states"):
        ProbedModel(model)


def test_attention_that_looks_to_the_right():
    model = tiny("gemma3_text")
    model.config.use_bidirectional_attention = True
    for layer in model.model.layers:
        layer.self_attn.is_causal = False
    with pytest.raises(UserError, match="to the right"):
        ProbedModel(model)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"word_embed_proj_dim": 8}, "its embeddings have 8 numbers and its residual stream 16"),
        ({"do_layer_norm_before": False}, "no residual stream runs through it"),
        ({"_remove_final_layer_norm": True}, "no final norm"),
    ],
)
def test_forms_of_opt_without_what_is_read(changes, said):
    config = OPTConfig(
        **{"vocab_size": 17, "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 8, "num_hidden_layers": 1}
        | {"num_attention_heads": 2, "max_position_embeddings": 8}
        | changes
    )
    with pytest.raises(UserError, match=f"this OPTForCausalLM cannot be read: .*{said}"):
        ProbedModel(OPTForCausalLM(config))


def test_a_model_that_runs_another_stack_than_the_one_it_has():
    model, other = tiny("gpt2"), tiny("gpt2")
    model.forward = other.forward  # equal in every value, and no patch would have an effect
    with pytest.raises(UserError, match="does not come by its GPT2Block"):
        ProbedModel(model)


def test_a_patch_without_effect():
    model = tiny("llama")
    first, last = model.model.layers[0], model.model.layers[1]
    states = []
    first.register_forward_hook(lambda module, args, output: states.append(output.clone()))
    last.register_forward_pre_hook(lambda module, args: (states[-1], *args[1:]))  # as made before it was patched
    with pytest.raises(UserError, match=r"what the model makes of x0\.post of another input"):
        ProbedModel(model)


def test_weights_that_are_not_numbers():
    model = tiny("gpt2")
    with torch.no_grad():
        model.transformer.h[0].mlp.c_proj.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="nan"):
        ProbedModel(model)


def test_a_row_of_the_users_own_reads_a_model_of_an_unknown_type(monkeypatch):
    model = tiny("llama")
    as_llama = ProbedModel(model).capture(some_tokens(), "q1.3")
    model.config.model_type = "llama-of-mine"
    row = replace(iv.architecture_of("llama"), mlp_out="mlp.down_proj")
    with pytest.raises(UserError, match="'llama-of-mine'"):
        ProbedModel(model)
    read = ProbedModel(model, architecture=row).capture(some_tokens(), "q1.3")
    assert torch.equal(read[Site("q", 1, 3)], as_llama[Site("q", 1, 3)])
    monkeypatch.setattr(architectures, "ARCHITECTURES", dict(architectures.ARCHITECTURES))
    iv.register_architecture("llama-of-mine", row)
    assert ProbedModel(model).sites
    assert "n0" not in map(str, every_site(ProbedModel(model, architecture=replace(row, down=None))))
    with pytest.raises(UserError, match="not dict"):
        iv.register_architecture("llama-of-mine", {})


def test_another_architecture_is_an_error_that_names_the_ones_there_are():
    model = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(UserError, match="'bert'.*" + re.escape(", ".join(architectures.ARCHITECTURES))):
        ProbedModel(model)


def test_a_model_with_other_modules_is_refused():
    model = tiny("gpt2")
    del model.transformer.h[0].attn.c_proj
    with pytest.raises(UserError, match=r"not built as.*c_proj"):
        ProbedModel(model)


def test_quantised_weights_are_refused():
    model = tiny("llama")
    projection = model.model.layers[0].self_attn.o_proj
    projection.weight = nn.Parameter(projection.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(UserError, match=r"int8.*unquantised"):
        ProbedModel(model)


def test_weights_that_are_not_in_memory_are_refused():
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=5, bos_token_id=0, eos_token_id=0))
    with pytest.raises(UserError, match="not in memory"):
        ProbedModel(model)


def test_a_vocabulary_or_a_length_of_next_to_nothing():
    config = GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=1, n_positions=1, bos_token_id=0, eos_token_id=0)
    probed = ProbedModel(GPT2LMHeadModel(config))
    assert probed.logits(some_tokens(1, 1) * 0).shape == (1, 1, 1)
