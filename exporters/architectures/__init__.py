"""One adapter an architecture: how its checkpoints look, and the network they are the weights of."""
