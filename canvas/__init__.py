"""What an artist asks for: the canvas document, its media, latent grids and exact masks. No ComfyUI, no networks."""
