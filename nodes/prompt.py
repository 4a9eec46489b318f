"""Prompt nodes: text to CONDITIONING, with the references that it names; and a form that writes such text."""

from comfy_api.latest import io, ui
from server import PromptServer
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.sound import resample
from ..carriers.clip import tokenize, unknown_words
from ..models.media_encoder import SAMPLE_RATE
from .structure import check_references, check_structure, structured
from .types import CanvasType

MOST_FRAMES = 4097  # of a reference clip, at the canvas' rate


def show(node: type[io.ComfyNode], lines: list[str]) -> ui.PreviewText:
    """Lines on the node, while the graph runs and afterwards."""
    message = "\n".join(lines)
    if node.hidden is not None and getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.send_progress_text(message, node.hidden.unique_id)
    return ui.PreviewText(message)


def report(words: list[str]) -> str:
    return f"Not known, ignored: {', '.join(words)}" if words else "All words are known."


def reference_media(canvas: Canvas) -> dict[str, Tensor]:
    """Tag in lower case -> picture [1, H, W, 3], clip [F, H, W, 3] at the canvas' rate, or sound [C, S] at 44.1 kHz."""
    result = {}
    for reference in canvas.document.references:
        facts, medium = canvas.document.media[reference.media], canvas.media[reference.media]
        if facts.kind == "sound":
            medium = resample(medium, facts.sample_rate, SAMPLE_RATE)
        elif facts.kind == "clip" and facts.fps != canvas.document.fps:
            count = max(1, round(facts.seconds * canvas.document.fps))
            if count > MOST_FRAMES:
                raise ValueError(
                    f"{reference.tag} lasts {facts.seconds:.0f} s, {count} frames at the canvas' rate: use a clip of "
                    f"at most {MOST_FRAMES}, or its true frame rate"
                )
            frames = (facts.frame_at(i / canvas.document.fps) for i in range(count))
            medium = medium[[min(frame, len(medium) - 1) for frame in frames]]
        result[reference.tag.lower()] = medium
    return result


class SkyCanvasPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasPrompt",
            display_name="SkyCanvas Prompt",
            category="SkyCanvas/conditioning",
            description="Describes the picture and, between <sfx> and </sfx>, the sound. It does what 'CLIP Text "
            "Encode' does, checks the tags, and lists the words that Mini does not know. With a canvas, the text "
            "encoder sees and hears the references where the prompt names them. An empty prompt leaves the model free.",
            search_aliases=["clip text encode", "text to conditioning", "positive prompt", "multimodal prompt"],
            inputs=[
                io.Clip.Input("clip"),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    default="a red circle bounces slowly on a navy background <sfx> low ping </sfx>",
                    tooltip="For Mini: a colour, a shape, how fast it moves, the background, and the sound.",
                ),
                CanvasType.Input(
                    "canvas",
                    optional=True,
                    tooltip="The canvas with the references that the text names: @image_1, @video_1, @audio_0, ...",
                ),
            ],
            outputs=[io.Conditioning.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, clip, text, canvas=None) -> io.NodeOutput:
        check_structure(text)
        media = reference_media(canvas) if canvas is not None else {}
        wired = [reference.tag for reference in canvas.document.references] if canvas is not None else []
        check_references(text, wired)
        tokens, notes = tokenize(clip, text, media)
        conditioning = clip.encode_from_tokens_scheduled(tokens)
        return io.NodeOutput(conditioning, ui=show(cls, [report(unknown_words(clip, text)), *notes]))


def field(name: str, tooltip: str) -> io.String.Input:
    return io.String.Input(name, multiline=True, default="", optional=True, tooltip=tooltip)


class SkyCanvasStructuredPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasStructuredPrompt",
            display_name="Structured Prompt",
            category="SkyCanvas/conditioning",
            description="Writes a prompt in the form that the model was trained on, with what is said, heard, sung or "
            "written in tags of its own. Connect it to the text of 'SkyCanvas Prompt'. Empty fields are left out.",
            search_aliases=["prompt builder", "dialogue", "sound effects", "background music"],
            inputs=[
                io.String.Input(
                    "picture",
                    multiline=True,
                    default="",
                    tooltip="What is to be seen. References may be named here and in the other fields: @image_1.",
                ),
                field("dialogue", "What is said, word by word. Each line is one utterance: <dialogue>."),
                field("sound_effects", "What is to be heard. Each line is one sound: <sfx>."),
                field("singing", "What is sung, word by word: <singing>."),
                field("background_music", "The music, described: <bgm>."),
                field("text_in_picture", "What is to be read in the picture, letter by letter: <text>."),
            ],
            outputs=[io.String.Output(display_name="text")],
        )

    @classmethod
    def execute(
        cls, picture, dialogue="", sound_effects="", singing="", background_music="", text_in_picture=""
    ) -> io.NodeOutput:
        parts = {
            "dialogue": dialogue,
            "sfx": sound_effects,
            "singing": singing,
            "bgm": background_music,
            "text": text_in_picture,
        }
        return io.NodeOutput(structured(picture, parts))
