"""Media that come with the pack, so that its workflows run before anything of one's own is loaded."""

from pathlib import Path

import av
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

# Not "examples": ComfyUI would serve that folder in the place of our workflows.
EXAMPLES = Path(__file__).parent.parent / "example_media"
# benchmarks/examples.py draws them. Workflows hold these names: never rename one, only append.
FILES = (
    "red_circle.mkv", "green_square.mkv", "blue_triangle.mkv",
    "yellow_square.png", "magenta_triangle.png", "white_circle.png", "navy_background.png", "maroon_background.png",
    "high_buzz.flac",
    "red_circle_logo.mkv", "red_circle_subtitle.mkv", "red_circle_watermark.mkv", "red_circle_yellow_square.mkv",
    "talking_face.mkv", "shrinking_square.mkv", "face.png", "low_voice.flac", "green_square_large.mkv",
    "white_circle_patch.png",
)  # fmt: skip


def decode(path: Path) -> dict:
    """What a media file holds of images [F, H, W, 3] and mask [F, H, W] in 0..1, audio and frame_rate.

    The mask is the second stream of pictures.
    """
    with av.open(str(path)) as file:
        pictures, sounds = file.streams.video, file.streams.audio
        frames = {stream.index: [] for stream in (*pictures, *sounds)}
        for packet in file.demux(*pictures, *sounds):
            frames[packet.stream_index] += packet.decode()
        found = {}
        for name, layout, stream in zip(("images", "mask"), ("rgb24", "gray"), pictures, strict=False):
            stacked = [torch.from_numpy(frame.to_ndarray(format=layout)) for frame in frames[stream.index]]
            found[name] = torch.stack(stacked).float() / 255
        if "mask" in found:  # a clip: the frame rate of a still picture says nothing
            found["frame_rate"] = float(pictures[0].average_rate)
        for stream in sounds:
            samples = torch.cat([torch.from_numpy(frame.to_ndarray()) for frame in frames[stream.index]], dim=1)
            found["audio"] = {"waveform": samples[None].float() / 32768, "sample_rate": stream.rate}
    return found


class SkyCanvasExample(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasExample",
            display_name="Example Media",
            category="SkyCanvas/loaders",
            description="A clip, a picture or a voice of Mini's toy world, to try a workflow with. Then replace this "
            "node by 'Load Image', 'Load Video' and 'Get Video Components', or 'Load Audio'.",
            search_aliases=["load video", "load image", "test clip", "sample footage"],
            inputs=[
                io.Combo.Input(
                    "example",
                    options=list(FILES),
                    tooltip="64 x 64 pixels. Clips (.mkv) have 17 frames, blue_triangle 33, at 16 frames per second. "
                    "green_square_large is green_square with 128 x 128 pixels and 33 frames, at 32. white_circle_patch "
                    "is the middle of white_circle, 28 x 28.",
                )
            ],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Audio.Output(display_name="audio"),
                io.Mask.Output(display_name="mask", tooltip="Of a clip: its object, in white."),
                io.Float.Output(display_name="frame_rate"),
            ],
        )

    @classmethod
    def execute(cls, example) -> io.NodeOutput:
        if example not in FILES:
            raise ValueError(f"example {example!r} is not one of {', '.join(FILES)}")
        found = decode(EXAMPLES / example)
        return io.NodeOutput(
            *(
                found.get(name, ExecutionBlocker(f"{example} has no {name}: choose another example"))
                for name in ("images", "audio", "mask", "frame_rate")
            )
        )
