"""Whether a model uses what its activations encode: runs of two inputs, and activations of one put into the other."""
