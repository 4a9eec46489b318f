"""SkyCanvas: joint video and audio generation on a space-time canvas, for ComfyUI."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """ComfyUI calls this once at start. Everything is imported here, so that importing the package costs nothing."""
    from .nodes import SkyCanvasExtension

    return SkyCanvasExtension()
