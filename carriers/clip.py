"""Mini's text encoder as a ComfyUI CLIP: CLIPTextEncode, LoraLoader and the conditioning nodes take it as any other.

`tokenize` hands references (pictures, clips, sounds) to this CLIP and to those of ComfyUI that see pictures, at the
place of their tag.
"""

import inspect
import logging
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import comfy.model_management
import comfy.ops
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import torch

from ..models.media_encoder import shrink
from ..models.text_encoder import PAD, TextEncoder, TextEncoderConfig, Tokenizer, tag_positions
from .loading import naming, read_checkpoint

KEY = "skycanvas"  # names our tokens among those of other encoders
VISION = "<|vision_start|><|image_pad|><|vision_end|>"  # where a Qwen-VL prompt has a picture
VISION_PIXELS = 384 * 384  # of a picture for other encoders, as TextEncodeQwenImageEditPlus has it
VISION_FRAMES = 4  # of a clip, for encoders that know pictures alone


class PromptTokenizer:
    """Our word-level tokenizer, behind the methods that comfy.sd.CLIP calls. Emphasis such as (red:1.2) is not read."""

    def __init__(self, embedding_directory: str | None, tokenizer_data: dict[str, Any]):
        self.words: Tokenizer = tokenizer_data["words"]

    def tokenize_with_weights(
        self, text: str, return_word_ids: bool = False, media: Mapping[str, torch.Tensor] | None = None, **_
    ) -> dict[str, list[list[tuple]]]:
        """media: tag in lower case -> tensor as in `tokenize`; an entry {"type", "data"} follows the tag's token."""
        unknown = self.words.unknown_words(text)
        if unknown:
            logging.warning("SkyCanvas: the text encoder does not know: %s", ", ".join(unknown))
        tags = tag_positions(text, media or {})
        row: list[tuple] = []
        for i, token in enumerate(self.words(text)):
            entries = [token]
            if media and i in tags:
                medium = media[tags[i]]
                entries.append({"type": "sound" if medium.ndim == 2 else "image", "data": medium})
            row += [(entry, 1.0, i) if return_word_ids else (entry, 1.0) for entry in entries]
        return {KEY: [row]}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}


class PromptEncoder(TextEncoder):
    """Our text encoder, behind the methods that comfy.sd.CLIP calls."""

    def __init__(self, config: TextEncoderConfig, dtype=None, device="cpu", model_options: dict | None = None):
        operations = (model_options or {}).get("custom_operations", comfy.ops.manual_cast)
        super().__init__(config, operations=operations, dtype=dtype, device=device)
        self.dtypes = {dtype}
        self.execution_device: torch.device | None = None

    def set_clip_options(self, options: dict[str, Any]) -> None:
        self.execution_device = options.get("execution_device", self.execution_device)

    def reset_clip_options(self) -> None:
        self.execution_device = None

    def encode_token_weights(self, tokens: dict[str, list[list[tuple]]]) -> tuple[torch.Tensor, torch.Tensor]:
        """-> sequence [B, L, D], pooled [B, D]"""
        rows, media = zip(*(self._split(row) for row in tokens[KEY]), strict=True)
        length = max(map(len, rows))
        ids = torch.tensor([row + [PAD] * (length - len(row)) for row in rows], device=self.execution_device)
        sequence, pooled = self.encode_prompt(ids, media)
        device = comfy.model_management.intermediate_device()
        return sequence.to(device), pooled.to(device)

    def _split(self, row: list[tuple]) -> tuple[list[int], dict[int, torch.Tensor]]:
        """Token ids, and the vectors of the media behind them: position of the tag's token -> [n, D]."""
        ids: list[int] = []
        vectors = {}
        for entry in (token[0] for token in row):
            if not isinstance(entry, dict):
                ids.append(entry)
            elif self.media is not None:
                sound = entry["type"] == "sound"
                data = entry["data"] if sound else shrink(entry["data"])  # before a large clip goes to another device
                encode = self.media.sounds if sound else self.media.pictures
                (vectors[len(ids) - 1],) = encode(data[None].to(self.execution_device))
        return ids, vectors

    def load_sd(self, sd: dict[str, torch.Tensor]):
        return self.load_state_dict(sd, assign=self.can_assign_sd)  # comfy.sd.CLIP sets can_assign_sd just before


def load_clip(path: str, model_options: dict | None = None, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """Loads a text encoder of Mini. ValueError if the file is broken or of another architecture."""
    sd, metadata = read_checkpoint(path)
    target = comfy.supported_models_base.ClipTarget(PromptTokenizer, PromptEncoder)
    with naming(path, "a text encoder of SkyCanvas Mini"):
        target.params = {"config": TextEncoderConfig.from_state_dict(sd)}
        words = Tokenizer.from_metadata(metadata)
    options = {"dtype": torch.float32, **(model_options or {})}  # a few MB: half precision would save nothing
    clip = comfy.sd.CLIP(
        target,
        tokenizer_data={"words": words},
        parameters=comfy.utils.calculate_parameters(sd),
        state_dict=[sd],
        model_options=options,
        disable_dynamic=disable_dynamic,
    )
    clip.patcher.cached_patcher_init = (_load_patcher, (path, options))
    return clip


def _load_patcher(path: str, model_options: dict, disable_dynamic: bool = False):
    return load_clip(path, model_options, disable_dynamic).patcher


def unknown_words(clip: comfy.sd.CLIP, text: str) -> list[str]:
    """Words of a prompt that this CLIP cannot tell apart; empty for a CLIP that is not ours, which has subwords."""
    return clip.tokenizer.words.unknown_words(text) if isinstance(clip.tokenizer, PromptTokenizer) else []


def tokenize(clip: comfy.sd.CLIP, text: str, media: Mapping[str, torch.Tensor]) -> tuple[Any, list[str]]:
    """Tokens of a prompt that sees its references, and notes on what this CLIP does not perceive.

    media: tags of the prompt in lower case -> picture [1, H, W, 3] or clip [F, H, W, 3] in 0..1, or sound
    [channels, samples] at 44.1 kHz. Mini's encoder takes all of them. Any other CLIP gets the pictures, and frames of
    the clips, if its tokenizer knows `images`: behind the tag where its template allows that.
    """
    tokenizer = clip.tokenizer
    if isinstance(tokenizer, PromptTokenizer):
        if media and clip.cond_stage_model.media is None:
            return clip.tokenize(text), [f"This text encoder is an old one that perceives no media: {_words(media)}."]
        return clip.tokenize(text, media=media), []
    parameters = inspect.signature(tokenizer.tokenize_with_weights).parameters
    pictures = {tag: medium for tag, medium in media.items() if medium.ndim == 4}
    if not pictures or "images" not in parameters:
        return clip.tokenize(text), [f"This CLIP perceives no such media: {_words(media)}."] if media else []
    notes = []
    if sounds := media.keys() - pictures.keys():
        notes.append(f"This CLIP hears nothing: {_words(sounds)}.")
    order = sorted(pictures, key=lambda tag: _end_of(tag, text))
    images = {tag: [vision_picture(frame) for frame in key_frames(pictures[tag])] for tag in order}
    options = {"images": [image for tag in order for image in images[tag]]}
    template = getattr(tokenizer, "llama_template_images", None)
    if template and "llama_template" in parameters:
        for tag in order:
            end = _end_of(tag, text)
            text = text[:end] + VISION * len(images[tag]) + text[end:]
        options["llama_template"] = template.replace(VISION, "")
    else:
        notes.append(f"This CLIP has a place of its own for pictures; it gets them in the order {', '.join(order)}.")
    tokens = clip.tokenize(text, **options)
    seen = sum(isinstance(token[0], dict) for rows in tokens.values() for row in rows for token in row)
    if seen < len(options["images"]):
        notes.append(f"This CLIP took {seen} of {len(options['images'])} pictures.")
    return tokens, notes


def key_frames(images: torch.Tensor) -> list[torch.Tensor]:
    """At most VISION_FRAMES frames [1, H, W, 3] of a clip, evenly spread from its first to its last."""
    count = min(len(images), VISION_FRAMES)
    return [images[round(i * (len(images) - 1) / max(count - 1, 1))][None] for i in range(count)]


def vision_picture(image: torch.Tensor) -> torch.Tensor:
    """[1, H, W, 3] -> a picture of about VISION_PIXELS pixels in the same proportions."""
    height, width = image.shape[1:3]
    scale = math.sqrt(VISION_PIXELS / (height * width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return comfy.utils.common_upscale(image.movedim(-1, 1), *size, "area", "disabled").movedim(1, -1)


def _end_of(tag: str, text: str) -> int:
    """Where the first mention of a tag ends; @image_1 is not mentioned in @image_10."""
    match = re.search(rf"{re.escape(tag)}(?!\w|-\w)", text, re.IGNORECASE | re.ASCII)
    return match.end() if match else len(text)


def _words(tags: Iterable[str]) -> str:
    tags = sorted(tags)
    return f"{', '.join(tags)} {'is a word' if len(tags) == 1 else 'are words'} to it, and nothing more"
