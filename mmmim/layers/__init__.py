"""Building blocks shared by backbones and decoders."""
