"""The ways in which people compile a model."""

import torch


def whole(model):
    return torch.compile(model, backend="eager")


def in_place(model):
    model.compile(backend="eager")
    return model


def forward(model):
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def decoder(model):
    model.model = torch.compile(model.model, backend="eager")
    return model


def decoder_in_place(model):
    model.model.compile(backend="eager")
    return model


def layers(model):
    for index, layer in enumerate(model.model.layers):
        model.model.layers[index] = torch.compile(layer, backend="eager")
    return model


def layers_in_place(model):
    for layer in model.model.layers:
        layer.compile(backend="eager")
    return model


def inside_a_layer(model):
    block = model.model.layers[0]
    block.mlp = torch.compile(block.mlp, backend="eager")
    block.self_attn.forward = torch.compile(block.self_attn.forward, backend="eager")
    model.lm_head = torch.compile(model.lm_head, backend="eager")
    return model


WAYS = [whole, in_place, forward, decoder, decoder_in_place, layers, layers_in_place, inside_a_layer]
