"""A model as accelerate spreads it over devices, all of which are the CPU."""

from accelerate import dispatch_model

from tests.probed.tiny import tiny


def spread(kind):
    """A model with a hook of accelerate around each module, which moves what it gets to its device."""
    model = tiny(kind)
    blocks = "transformer.h" if kind == "gpt2" else "model.layers"
    names = [name for name, _ in model.named_modules() if name.startswith(blocks) and name.count(".") == 2]
    parts = [name for name, _ in model.named_modules() if name.count(".") == 1 and name != blocks]
    return dispatch_model(model, dict.fromkeys([*names, *parts, "lm_head"], "cpu"), force_hooks=True)
