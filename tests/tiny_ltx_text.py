"""A text encoder for the tiny LTX-2, because core's `LTXAVTextEncoderLoader` takes Gemma 3 12B alone.

Tests of a server copy this one file into its `custom_nodes`: there it stands in the place of core's loader, under the
same name and with the same inputs, so that a workflow runs unchanged. In a process of ComfyUI, `load_clip` does it.
The CLIP is core's own class around an embedding of the prompt's bytes; what it emits goes through the connectors of the
model, as Gemma's output does.
"""

from typing import Any

import comfy.sd
import comfy.supported_models_base
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from comfy_extras import nodes_lt_audio

import nodes

NAME = "LTXAVTextEncoderLoader"


class ByteTokenizer:
    """One token per byte of UTF-8, behind a zero that stands for the start."""

    def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict[str, Any] | None = None):
        pass

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs) -> dict[str, list]:
        return {"bytes": [[(token, 1.0) for token in [0, *text.encode()]]]}


class ByteEncoder(torch.nn.Module):
    """A token's vector, turned towards the mean of those before it: what is said first matters for what comes later."""

    def __init__(self, width: int, dtype=None, device=None, model_options=None):
        super().__init__()
        self.dtypes = {dtype}
        self.embedding = torch.nn.Parameter(torch.zeros(256, width, dtype=dtype, device=device), requires_grad=False)

    def set_clip_options(self, options: dict) -> None:
        pass

    def reset_clip_options(self) -> None:
        pass

    def encode_token_weights(self, tokens: dict[str, list]):
        ids = torch.tensor([[token for token, _ in row] for row in tokens["bytes"]], device=self.embedding.device)
        vectors = self.embedding[ids].float()
        count = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        return vectors + vectors.cumsum(1) / count[:, None], None, {"unprocessed_ltxav_embeds": True}

    def load_sd(self, sd: dict[str, torch.Tensor]):
        return self.load_state_dict(sd, assign=getattr(self, "can_assign_sd", False))


def load_clip(path: str) -> comfy.sd.CLIP:
    """The CLIP of `TinyLtx.text_encoder`."""
    sd = comfy.utils.load_torch_file(path)
    target = comfy.supported_models_base.ClipTarget(ByteTokenizer, ByteEncoder)
    target.params = {"width": sd["embedding"].shape[1]}
    options = {"dtype": torch.float32}
    return comfy.sd.CLIP(target, parameters=sd["embedding"].numel(), state_dict=[sd], model_options=options)


class LTXAVTextEncoderLoader(nodes_lt_audio.LTXAVTextEncoderLoader):
    RELATIVE_PYTHON_MODULE = "comfy_extras.nodes_lt_audio"  # what /object_info tells of core's

    @classmethod
    def execute(cls, text_encoder, ckpt_name, device="default") -> io.NodeOutput:
        return io.NodeOutput(load_clip(folder_paths.get_full_path_or_raise("text_encoders", text_encoder)))


NODE_CLASS_MAPPINGS: dict[str, type] = {}  # of this module: ComfyUI lets none take a name that core has
if __name__ != "tiny_ltx_text":  # loaded by a server from its custom_nodes
    nodes.NODE_CLASS_MAPPINGS[NAME] = LTXAVTextEncoderLoader
