"""Building blocks that backbones and decoders share."""
