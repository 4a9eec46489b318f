"""Mini's own text encoder: words -> a sequence for the joint attention and one pooled vector for the modulation.

It stands where SkyReels-V4 has a frozen multimodal language model: trained first (`training/text.py`), then frozen,
read by the video and by the audio branch. The vocabulary is data of the weights file, not of this code. References that
the prompt names by their tag (`@image_1`) are seen and heard through `media_encoder.py`, at the place of the tag.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from .attention import QKV, merge_heads
from .checkpoint import read_checkpoint
from .media_encoder import MediaEncoder
from .rope import angles_1d, frequencies

PAD, SUMMARY, UNKNOWN, MASK = range(4)
SPECIAL_TOKENS = ("<pad>", "<summary>", "<unk>", "<mask>")
MULTIPLE = 16  # lengths of sequences are multiples of this
ROPE_THETA = 1000.0

# Tags such as <sfx>, </sfx>, @image_1, @Actor-0 stay whole; other punctuation separates words and carries no meaning.
# A tag ends where its ASCII characters do: Chinese and Japanese put no space after it.
_WORD = re.compile(r"</?[a-z]+>|@[a-z0-9_]+(?:-[a-z0-9_]+)*|\w+(?:['’]\w+)*")


def split_words(text: str) -> list[str]:
    """Lower-case words and tags of a prompt, in order: `A red ball! <sfx>` -> `a`, `red`, `ball`, `<sfx>`."""
    return _WORD.findall(text.lower())


def tag_positions(text: str, tags: Collection[str]) -> dict[int, str]:
    """Where a prompt's tokens name one of `tags` (lower case): position in the token row -> tag."""
    return {1 + i: word for i, word in enumerate(split_words(text)) if word in tags}  # 1: behind the summary token


class Tokenizer:
    """Word-level tokenizer: `[summary, word, word, ..., pad, pad]`.

    vocabulary: the words and tags known, in the order of their ids; the ids of SPECIAL_TOKENS come before them and
    cannot be typed. Sequences are padded to a multiple of `multiple`, so that prompts of one length class can be
    batched and cond and uncond of ordinary length have the same shape. A prompt of more than `max_tokens` tokens is
    refused rather than cut, because what a prompt says last (its sound, as a rule) would be lost unseen.
    """

    def __init__(self, vocabulary: Iterable[str], *, multiple: int = MULTIPLE, max_tokens: int = 256):
        self.vocabulary = tuple(vocabulary)
        self.multiple, self.max_tokens = multiple, max_tokens
        self._ids = {word: len(SPECIAL_TOKENS) + i for i, word in enumerate(self.vocabulary)}
        bad = [word for word in self.vocabulary if word in SPECIAL_TOKENS or split_words(word) != [word]]
        if bad or len(self._ids) != len(self.vocabulary):
            raise ValueError(f"vocabulary has repeats, or entries that are no single lower-case word: {bad[:5]}")

    @classmethod
    def from_metadata(cls, metadata: dict[str, str] | None) -> "Tokenizer":
        """Reads the vocabulary from the metadata of a safetensors file; ValueError if it has none."""
        if not metadata or "vocabulary" not in metadata:
            raise ValueError("the file's metadata has no 'vocabulary': it is not a text encoder of SkyCanvas Mini")
        return cls(json.loads(metadata["vocabulary"]))

    def __len__(self) -> int:
        """Number of ids, special tokens included."""
        return len(SPECIAL_TOKENS) + len(self.vocabulary)

    def __call__(self, text: str) -> list[int]:
        """Token ids of a prompt, padded; the empty prompt is the summary token alone. ValueError if too long."""
        ids = [SUMMARY, *(self._ids.get(word, UNKNOWN) for word in split_words(text))]
        if len(ids) > self.max_tokens:
            raise ValueError(f"prompt has {len(ids) - 1} words: shorten it to at most {self.max_tokens - 1}")
        return ids + [PAD] * (-len(ids) % self.multiple)

    def batch(self, texts: Sequence[str]) -> Tensor:
        """Token ids of several prompts, padded to the longest. [B, L] long"""
        rows = [self(text) for text in texts]
        length = max(map(len, rows))
        return torch.tensor([row + [PAD] * (length - len(row)) for row in rows])

    def unknown_words(self, text: str) -> list[str]:
        """Words of a prompt that all become the same <unk>, in order and without repeats."""
        return list(dict.fromkeys(word for word in split_words(text) if word not in self._ids))


@dataclass(frozen=True)
class TextEncoderConfig:
    """Sizes of a text encoder. tokens: number of ids; mlp_dim: hidden width of the feed-forward layers; media: whether
    it sees and hears references."""

    tokens: int
    dim: int = 128
    heads: int = 4
    blocks: int = 2
    mlp_dim: int = 512
    media: bool = False

    @classmethod
    def from_state_dict(cls, sd: dict[str, Tensor]) -> "TextEncoderConfig":
        """Reads the sizes from tensor shapes. ValueError names the tensor that is missing."""
        try:
            tokens, dim = sd["embedding.weight"].shape
            (head_dim,) = sd["blocks.0.attention.q_norm.weight"].shape
            mlp_dim, _ = sd["blocks.0.mlp.0.weight"].shape
        except KeyError as missing:
            raise ValueError(f"not a text encoder of SkyCanvas Mini: tensor {missing} is missing") from None
        blocks = {int(key.split(".")[1]) for key in sd if key.startswith("blocks.")}
        media = any(key.startswith("media.") for key in sd)
        return cls(tokens, dim, dim // head_dim, len(blocks), mlp_dim, media)


class TextBlock(nn.Module):
    """Pre-norm transformer block: x + attention, then x + MLP."""

    def __init__(self, config: TextEncoderConfig, *, operations=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.norm = operations.LayerNorm(config.dim, **factory)
        self.attention = QKV(config.dim, config.heads, operations=operations, **factory)
        self.out = operations.Linear(config.dim, config.dim, bias=False, **factory)
        self.mlp_norm = operations.LayerNorm(config.dim, **factory)
        self.mlp = nn.Sequential(
            operations.Linear(config.dim, config.mlp_dim, **factory),
            nn.GELU(approximate="tanh"),
            operations.Linear(config.mlp_dim, config.dim, **factory),
        )

    def forward(self, x: Tensor, angles: Tensor, attendable: Tensor) -> Tensor:
        """x [B, L, dim], angles [L, head_dim / 2], attendable [B, 1, 1, L] bool -> [B, L, dim]"""
        q, k, v = self.attention(self.norm(x), angles)
        x = x + self.out(merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=attendable)))
        return x + self.mlp(self.mlp_norm(x))


class TextEncoder(nn.Module):
    """A small transformer over words; every output vector has zero mean and unit variance.

    Padding is never attended to and comes out as zeros, so a prompt's other outputs depend neither on how far it is
    padded nor on what shares its batch (up to rounding). `media` turns references into vectors for `encode_prompt`; it
    is None in files of before it existed, to which a tag is a word and nothing more.
    """

    def __init__(self, config: TextEncoderConfig, *, operations=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.config = config
        self.embedding = operations.Embedding(config.tokens, config.dim, **factory)
        self.blocks = nn.ModuleList(TextBlock(config, operations=operations, **factory) for _ in range(config.blocks))
        self.norm = operations.LayerNorm(config.dim, elementwise_affine=False, **factory)
        self.media = MediaEncoder(config.dim, operations=operations, **factory) if config.media else None

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens [B, L] long -> sequence [B, L, dim] (zeros at padding), pooled [B, dim]"""
        return self.encode(self.embedding(tokens), tokens != PAD)

    def encode_prompt(self, tokens: Tensor, media: Sequence[Mapping[int, Tensor]]) -> tuple[Tensor, Tensor]:
        """As `forward`, with references: they come right behind their tag's token, and what follows moves on.

        tokens [B, L] long; media: for each row, position of the tag's token -> vectors [n, dim] of `self.media`.
        Returns sequence [B, M, dim] and pooled [B, dim]; M is the longest row's length, rounded up to a multiple of 16.
        Without any media the result is that of `forward`, bit for bit.
        """
        if not any(media):
            return self(tokens)
        rows = []
        for words, length, inserts in zip(self.embedding(tokens), (tokens != PAD).sum(1).tolist(), media, strict=True):
            pieces, start = [], 0
            for position, vectors in sorted(inserts.items()):
                pieces += [words[start : position + 1], vectors.to(words)]
                start = position + 1
            rows.append(torch.cat([*pieces, words[start:length]]))
        lengths = torch.tensor([len(row) for row in rows], device=tokens.device)
        embeddings = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        embeddings = F.pad(embeddings, (0, 0, 0, -embeddings.shape[1] % MULTIPLE))
        present = torch.arange(embeddings.shape[1], device=tokens.device) < lengths[:, None]
        return self.encode(embeddings, present)

    def encode(self, embeddings: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, from embeddings [B, L, dim], which need not be those of words, and present [B, L] bool."""
        length, head_dim = embeddings.shape[1], self.config.dim // self.config.heads
        positions = torch.arange(length, dtype=torch.float32, device=embeddings.device)
        angles = angles_1d(positions, frequencies(head_dim // 2, ROPE_THETA).to(embeddings.device))
        x = embeddings
        for block in self.blocks:
            x = block(x, angles, present[:, None, None])
        sequence = self.norm(x) * present[..., None].to(x.dtype)
        return sequence, sequence[:, 0]


def save_text_encoder(path: str | Path, tokenizer: Tokenizer, encoder: TextEncoder, **facts: str) -> None:
    """Writes encoder and vocabulary to one safetensors file; facts (of the training) go to its metadata as they are."""
    metadata = {**facts, "architecture": "skycanvas mini text encoder", "vocabulary": json.dumps(tokenizer.vocabulary)}
    save_file({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}, path, metadata)


def load_text_encoder(path: str | Path, *, operations=nn, dtype=None, device=None) -> tuple[Tokenizer, TextEncoder]:
    """Reads what `save_text_encoder` wrote; the encoder is frozen and in eval mode.

    FileNotFoundError if there is no such file; ValueError if it is broken (says its size) or of another architecture.
    """
    sd, metadata = read_checkpoint(path)
    tokenizer, config = Tokenizer.from_metadata(metadata), TextEncoderConfig.from_state_dict(sd)
    if config.tokens != len(tokenizer):
        raise ValueError(
            f"{Path(path).name} has {config.tokens} embeddings for a vocabulary of {len(tokenizer)} tokens"
        )
    encoder = TextEncoder(config, operations=operations, dtype=dtype, device=device)
    encoder.load_state_dict(sd)
    return tokenizer, encoder.eval().requires_grad_(False)
