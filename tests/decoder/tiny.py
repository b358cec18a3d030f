"""A tiny random decoder in which everything matters: no weight is zero."""

import torch

from inversionview.decoder.model import Decoder, DecoderConfig, own_decoder

CONFIG = {
    "sites": ("x0.pre", "a0.0", "a0.1"),
    "d_activation": 8,
    "vocab_size": 15,
    "max_length": 14,
    "begin": 10,
    "end": 13,
    "pad": 14,
    "d_model": 32,
    "trunk_blocks": 2,
    "trunk_width": 48,
}


def tiny_decoder(seed: int = 0, **changes) -> Decoder:
    decoder = own_decoder(DecoderConfig(**CONFIG | changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    decoder.set_normalisation(torch.randn(3, 8, generator=generator), torch.tensor([1.0, 0.5, 2.0]))
    return decoder.eval()


def activations(batch: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 8, generator=generator), torch.randint(3, (batch,), generator=generator)


def inputs(batch: int, seed: int = 0):
    tokens = torch.randint(0, 10, (batch, 14), generator=torch.Generator().manual_seed(seed))
    tokens[:, 0] = 10
    return tokens
