"""The nodes of SkyCanvas, by topic. People's workflows hold their ids: never rename or reorder inputs, only append."""

from comfy_api.latest import ComfyExtension, io

from .latent import SkyCanvasEmptyLatent, SkyCanvasSplitLatent
from .loaders import SkyCanvasLoadMini, SkyCanvasLoadModel
from .output import SkyCanvasDecode
from .prompt import SkyCanvasPrompt
from .sampling import SkyCanvasGuider, SkyCanvasSampler, SkyCanvasWave
from .training import SkyCanvasPackForTraining


class SkyCanvasExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            SkyCanvasLoadMini,
            SkyCanvasLoadModel,
            SkyCanvasPrompt,
            SkyCanvasEmptyLatent,
            SkyCanvasSplitLatent,
            SkyCanvasGuider,
            SkyCanvasWave,
            SkyCanvasSampler,
            SkyCanvasDecode,
            SkyCanvasPackForTraining,
        ]
