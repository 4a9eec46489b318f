"""What a canvas will cost to sample: tokens, memory and seconds, before anything is sampled."""

import math
from dataclasses import dataclass

from .compile import Plan


@dataclass(frozen=True)
class ModelCost:
    """Sizes of a dual-stream MMDiT (SkyReels-V4 sec. 3.1) that decide what it costs.

    dim, blocks, mlp_ratio: of the network; parameters: how many numbers its weights are. bytes_per_number: of weights
    and activations. audio_patch: audio latents per token.
    """

    dim: int
    blocks: int
    mlp_ratio: float
    parameters: int
    bytes_per_number: int = 2
    audio_patch: int = 1

    def operations(self, video: int, audio: int, text: int) -> int:
        """Floating point operations of the blocks for so many tokens, once through. Multiply and add count as two."""
        own = 4 + 2 * self.mlp_ratio  # matrices of dim x dim that a token meets: query, key, value, output, MLP
        linear = sum(own * (tokens + text) for tokens in (video, audio) if tokens)  # eq. 1-3: words run in each branch
        pairs = sum((tokens + text) ** 2 for tokens in (video, audio) if tokens)
        if video:  # eq. 4: query and output of the picture, key and value of the words
            linear += 2 * video + 2 * text
            pairs += video * text
        if video and audio:  # eq. 5: both ways
            linear += 4 * (video + audio)
            pairs += 2 * video * audio
        return round(2 * self.blocks * (linear * self.dim**2 + 2 * pairs * self.dim))

    def bytes(self, tokens: int) -> int:
        """Memory for the weights and for the activations of the widest block."""
        widest = 8 + 2 * self.mlp_ratio  # per token, in dim: streams, query, key, value, modulation; hidden layer twice
        return round(self.bytes_per_number * (self.parameters + tokens * self.dim * widest))


@dataclass(frozen=True)
class Cost:
    """Tokens of one pass, by what they are of; bytes at the peak; seconds for all passes, None if the rate is unknown.

    context_tokens: of in-context patches. reference_tokens: of reference pictures, clips and voices.
    """

    video_tokens: int
    audio_tokens: int
    context_tokens: int
    reference_tokens: int
    text_tokens: int
    operations: int
    bytes: int
    seconds: float | None

    def text(self) -> str:
        """In one line."""
        parts = [
            f"{count} of {name}"
            for count, name in (
                (self.video_tokens, "the picture"),
                (self.audio_tokens, "the sound"),
                (self.context_tokens, "patches in context"),
                (self.reference_tokens, "references"),
                (self.text_tokens, "words"),
            )
            if count
        ]
        total = self.video_tokens + self.audio_tokens + self.context_tokens + self.reference_tokens + self.text_tokens
        time = "" if self.seconds is None else f", about {duration(self.seconds)}"
        return f"{total} tokens ({', '.join(parts)}), about {self.bytes / 2**30:.2f} GiB{time}."


def estimate(
    plan: Plan,
    model: ModelCost,
    *,
    text_tokens: int = 0,
    steps: int = 30,
    passes: int = 2,
    rate: float | None = None,
) -> Cost:
    """Cost of sampling a compiled canvas.

    passes: of the network in each step, 2 with guidance. rate: measured operations per second of this machine.
    """
    per_frame = math.prod(-(-side // plan.video.token) for side in plan.given.shape[1:])
    video = per_frame * len(plan.given)
    audio = -(-len(plan.audio_given) // model.audio_patch)
    context = per_frame * len(plan.patches)
    frames, latents = reference_latents(plan)
    pictures, voices = per_frame * frames, sum(-(-count // model.audio_patch) for count in latents)
    operations = model.operations(video + context + pictures, audio + voices, text_tokens)
    return Cost(
        video,
        audio,
        context,
        pictures + voices,
        text_tokens,
        operations,
        model.bytes(video + audio + context + pictures + voices + text_tokens),
        None if rate is None else steps * passes * operations / rate,
    )


def reference_latents(plan: Plan) -> tuple[int, list[int]]:
    """Latent frames of all reference pictures and clips together, and audio latents of each voice."""
    frames, voices = 0, []
    for reference in plan.document.references:
        media = plan.document.media[reference.media]
        if media.kind == "sound":
            voices.append(plan.audio.latents(media.seconds or 0))
        elif media.kind == "image":
            frames += 1
        else:  # resampled to the rate of the canvas, and cut to whole latent frames
            count = math.ceil((media.seconds or 0) * plan.document.fps - 1e-6)
            frames += 1 + (count - 1) // plan.video.temporal
    return frames, voices


def duration(seconds: float) -> str:
    """`0.4 s`, `37 s`, `12 min`, `3.5 h`"""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
