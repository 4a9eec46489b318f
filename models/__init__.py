"""The networks of SkyCanvas in plain PyTorch: they train and run without ComfyUI."""
