"""The bridge of TransformerLens to a model, and the names it has for our sites."""

import contextlib
import copy
import logging
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformer_lens.model_bridge.sources import build_bridge_from_module


def bridge_to(model, convention):
    logging.disable(logging.WARNING)
    try:
        model = copy.deepcopy(model)  # the bridge changes the model it is given
        bridge = build_bridge_from_module(model, type(model).__name__, hf_config=model.config)
        bridge.enable_compatibility_mode(disable_warnings=True, no_processing=convention == "raw")
        with contextlib.suppress(NotImplementedError):  # it has all of OPT and GPT-J but their heads' results
            bridge.set_use_attn_result(True)
    finally:
        logging.disable(logging.NOTSET)
    return bridge


def hook_of(site):
    return site.hook_name if site.head is None else site.hook_name.rsplit(".", 1)[0]


def at(site, tensor, width):
    """The view of one site in the tensor at its hook."""
    return tensor if site.head is None else tensor.view(*tensor.shape[:2], -1, width)[:, :, site.head]
