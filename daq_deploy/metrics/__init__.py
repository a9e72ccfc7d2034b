"""How good a picture is, by the protocol of super-resolution papers."""
