"""Carriers: how one family of models is wrapped for ComfyUI, one file per family and one per kind of object."""
