"""A tiny Mini whose text encoder sees and hears references."""

from dataclasses import replace
from pathlib import Path

import torch
from tiny_mini import TinyMini, randomised, write_tiny_mini

from models.text_encoder import TextEncoder, load_text_encoder, save_text_encoder


def write_tiny_mini_with_media(folder: Path) -> TinyMini:
    """As `write_tiny_mini`; its words mean the same, its media encoder has random weights."""
    files = write_tiny_mini(folder)
    tokenizer, words = load_text_encoder(files.text_encoder)
    encoder = TextEncoder(replace(words.config, media=True))
    encoder.load_state_dict(randomised(encoder, torch.Generator().manual_seed(1)) | words.state_dict())
    save_text_encoder(files.text_encoder, tokenizer, encoder)
    return files
