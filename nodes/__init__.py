"""The nodes of SkyCanvas, by topic. People's workflows hold their ids: never rename or reorder inputs, only append."""

from comfy_api.latest import ComfyExtension, io

from .canvas import (
    SkyCanvasMaskRegion,
    SkyCanvasMaskSound,
    SkyCanvasNew,
    SkyCanvasPlaceClip,
    SkyCanvasPlaceImage,
    SkyCanvasPlaceSound,
)
from .compose import SkyCanvasCompose
from .editor import SkyCanvasEditor
from .encode import SkyCanvasEncode
from .enhance import SkyCanvasEnhancePrompt
from .example import SkyCanvasExample
from .extend import SkyCanvasExtend
from .keyframes import SkyCanvasKeyframes
from .latent import SkyCanvasEmptyLatent, SkyCanvasSplitLatent
from .loaders import SkyCanvasLoadMini, SkyCanvasLoadModel
from .output import SkyCanvasDecode
from .planner import SkyCanvasPlan
from .preview import SkyCanvasPreview
from .prompt import SkyCanvasPrompt, SkyCanvasStructuredPrompt
from .references import SkyCanvasReferenceClip, SkyCanvasReferenceImages, SkyCanvasReferenceVoice
from .refine import SkyCanvasRefine
from .routes import register
from .sampling import SkyCanvasGuider, SkyCanvasNoise, SkyCanvasSampler, SkyCanvasWave
from .streaming import SkyCanvasDecodeToFile, SkyCanvasEncodeVideo
from .training import SkyCanvasPackForTraining
from .view import SkyCanvasView


class SkyCanvasExtension(ComfyExtension):
    async def on_load(self) -> None:
        register()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            SkyCanvasLoadMini,
            SkyCanvasLoadModel,
            SkyCanvasExample,
            SkyCanvasPrompt,
            SkyCanvasStructuredPrompt,
            SkyCanvasEnhancePrompt,
            SkyCanvasEditor,
            SkyCanvasNew,
            SkyCanvasPlaceImage,
            SkyCanvasPlaceClip,
            SkyCanvasPlaceSound,
            SkyCanvasMaskRegion,
            SkyCanvasMaskSound,
            SkyCanvasReferenceImages,
            SkyCanvasReferenceClip,
            SkyCanvasReferenceVoice,
            SkyCanvasPreview,
            SkyCanvasPlan,
            SkyCanvasEncode,
            SkyCanvasEncodeVideo,
            SkyCanvasEmptyLatent,
            SkyCanvasKeyframes,
            SkyCanvasSplitLatent,
            SkyCanvasGuider,
            SkyCanvasNoise,
            SkyCanvasWave,
            SkyCanvasSampler,
            SkyCanvasExtend,
            SkyCanvasRefine,
            SkyCanvasDecode,
            SkyCanvasDecodeToFile,
            SkyCanvasCompose,
            SkyCanvasView,
            SkyCanvasPackForTraining,
        ]
