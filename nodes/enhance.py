"""The prompt enhancer: a language model puts free words into the form that the video model was trained on."""

import logging
import re

from comfy_api.latest import io

from .prompt import show
from .structure import check_structure, reference_tags

INSTRUCTION = """Rewrite the request below as one prompt for a model that makes a video together with its sound.
- First describe in plain sentences what is seen: who or what, where, how it moves, the camera, the light.
- Then what is heard or read, each in tags of its own:
  <dialogue>words that are spoken</dialogue>
  <singing>words that are sung</singing>
  <sfx>a sound, described</sfx>
  <bgm>the music, described</bgm>
  <text>letters that stand in the picture</text>
- Use a tag only where the request asks for it or the scene needs it. Close every tag. Put no tag inside another.
- Keep each name that begins with @, such as @image_1, exactly as it is, and invent none.
- Answer with the prompt alone.

Example of a request: a man greets us in the rain, voice of @audio_0
Example of an answer: A man in a dark coat stands in a street at night, looks into the camera and smiles. \
<dialogue>Good evening.</dialogue>@audio_0 <sfx>Rain falls on stone.</sfx>

Request: """
# As 'Generate Text' has them.
SAMPLING = {"temperature": 0.7, "top_k": 64, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.05}


def write(clip, prompt: str, max_length: int, seed: int) -> str:
    """What a language model answers, by the same calls as 'Generate Text'. ValueError if this CLIP cannot write."""
    tokens = clip.tokenize(
        prompt, image=None, skip_template=False, min_length=1, thinking=False, video=None, audio=None
    )
    try:
        return clip.decode(clip.generate(tokens, do_sample=True, max_length=max_length, seed=seed, **SAMPLING))
    except (AttributeError, NotImplementedError) as error:  # core has no flag that says so beforehand
        raise ValueError(
            f"this CLIP cannot write text ({error}): connect one that works with 'Generate Text', such as Gemma 3"
        ) from error


def prompt_of(answer: str) -> str:
    """The prompt in an answer: without thoughts, code fences, and quotes around it."""
    answer = re.sub(r"(?s)^.*?</think>", "", answer)
    answer = re.sub(r"(?m)^```\w*$", "", answer)
    answer = " ".join(answer.split())
    return answer[1:-1].strip() if len(answer) > 1 and answer[0] == answer[-1] == '"' else answer


def flaw(prompt: str, request: str) -> str:
    """What is wrong with a prompt that was written for a request; empty if nothing is."""
    if not prompt:
        return "it is empty"
    try:
        check_structure(prompt)
    except ValueError as error:
        return str(error)
    wanted, named = ({tag.lower() for tag in reference_tags(text)} for text in (request, prompt))
    if wanted - named:
        return f"it has lost {', '.join(sorted(wanted - named))}"
    if named - wanted:
        return f"it has invented {', '.join(sorted(named - wanted))}"
    return ""


class SkyCanvasEnhancePrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasEnhancePrompt",
            display_name="Enhance Prompt",
            category="SkyCanvas/conditioning",
            description="A language model turns free words into a full description with tags for speech, song, sound "
            "and music. References (@image_1) are kept. Without a language model, or if its answer cannot be used, the "
            "text comes out as it went in, and the node says so. Mini needs none: it knows a few words only.",
            search_aliases=["prompt enhancer", "llm", "rewrite prompt", "magic prompt"],
            inputs=[
                io.String.Input("text", multiline=True, dynamic_prompts=True, default="", tooltip="Free words."),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="A language model with which 'Generate Text' works, such as Qwen3 or Gemma 3, from 'Load "
                    "CLIP'. Leave open to pass the text on as it is.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed gives another wording.",
                ),
                io.Int.Input(
                    "max_length", default=512, min=16, max=4096, tooltip="Tokens that it may write; more take longer."
                ),
            ],
            outputs=[io.String.Output(display_name="text")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, text, seed, max_length, clip=None) -> io.NodeOutput:
        if clip is None:
            return io.NodeOutput(text, ui=show(cls, ["No language model is connected: the text goes on as it is."]))
        if not text.strip():
            return io.NodeOutput(text, ui=show(cls, ["There is no text to enhance."]))
        prompt = prompt_of(write(clip, INSTRUCTION + text, max_length, seed))
        if reason := flaw(prompt, text):
            message = f"Warning: the answer of the language model was not used, because {reason}."
            logging.warning("SkyCanvas: %s It was: %s", message, prompt)
            return io.NodeOutput(text, ui=show(cls, [message, "The text goes on as it is.", prompt]))
        return io.NodeOutput(prompt, ui=show(cls, [prompt]))
