"""Training of Mini in plain PyTorch: the toybox world, codecs, text encoder and the joint network. No ComfyUI."""
