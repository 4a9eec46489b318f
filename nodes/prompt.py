"""The prompt node: text to CONDITIONING, saying which words the text encoder does not know."""

from comfy_api.latest import io, ui
from server import PromptServer

from ..carriers.clip import unknown_words


def report(words: list[str]) -> str:
    return f"Not known, ignored: {', '.join(words)}" if words else "All words are known."


class SkyCanvasPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasPrompt",
            display_name="SkyCanvas Prompt",
            category="SkyCanvas/conditioning",
            description="Describes the picture and, between <sfx> and </sfx>, the sound. It does what 'CLIP Text "
            "Encode' does, and lists the words that Mini does not know. An empty prompt leaves the model free.",
            search_aliases=["clip text encode", "text to conditioning", "positive prompt"],
            inputs=[
                io.Clip.Input("clip"),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    default="a red circle bounces slowly on a navy background <sfx> low ping </sfx>",
                    tooltip="For Mini: a colour, a shape, how fast it moves, the background, and the sound.",
                ),
            ],
            outputs=[io.Conditioning.Output()],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, clip, text) -> io.NodeOutput:
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
        message = report(unknown_words(clip, text))
        if cls.hidden is not None and getattr(PromptServer, "instance", None) is not None:
            PromptServer.instance.send_progress_text(message, cls.hidden.unique_id)
        return io.NodeOutput(conditioning, ui=ui.PreviewText(message))
