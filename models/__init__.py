"""Super-resolution networks in PyTorch, with the parameter names of their authors' code."""
