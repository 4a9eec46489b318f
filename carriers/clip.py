"""Mini's text encoder as a ComfyUI CLIP: CLIPTextEncode, LoraLoader and the conditioning nodes take it as any other."""

import logging
from typing import Any

import comfy.model_management
import comfy.ops
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import torch

from ..models.text_encoder import TextEncoder, TextEncoderConfig, Tokenizer
from .loading import naming, read_checkpoint

KEY = "skycanvas"  # names our tokens among those of other encoders


class PromptTokenizer:
    """Our word-level tokenizer, behind the methods that comfy.sd.CLIP calls. Emphasis such as (red:1.2) is not read."""

    def __init__(self, embedding_directory: str | None, tokenizer_data: dict[str, Any]):
        self.words: Tokenizer = tokenizer_data["words"]

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_) -> dict[str, list[list[tuple]]]:
        unknown = self.words.unknown_words(text)
        if unknown:
            logging.warning("SkyCanvas: the text encoder does not know: %s", ", ".join(unknown))
        rows = [(token, 1.0, i) if return_word_ids else (token, 1.0) for i, token in enumerate(self.words(text))]
        return {KEY: [rows]}

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
        ids = torch.tensor([[token[0] for token in row] for row in tokens[KEY]], device=self.execution_device)
        sequence, pooled = self(ids)
        device = comfy.model_management.intermediate_device()
        return sequence.to(device), pooled.to(device)

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
