"""Teaches Mini's text encoder to see and hear references; its word weights stay as they are.

    python -m training.media --seconds 240

A scene is described twice: in words, and with references in the place of some of the words (`@image_1 moves like
@video_1 ...`), which show other pictures, clips and sounds of the same thing. The prompt with references shall mean to
the frozen encoder what the words mean: its pooled vector is drawn to theirs (by itself, and among those of the batch),
and every attribute has to be readable from it. Only the media encoder learns.
"""

import argparse
import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from models.media_encoder import MediaEncoder
from models.text_encoder import PAD, TextEncoder, Tokenizer, load_text_encoder, save_text_encoder, tag_positions
from training.captions import EASY, REFERENCES, caption, choose_said, rephrase
from training.text import AttributeProbe, is_held_out, labels, sample_scene
from training.toybox import FRAME_SIZE, Scenes, sample_scenes

FRAMES = 17  # of the clips and sounds that serve as references
CLIPS = 8  # at most so many clips in a batch, which cost more than all the rest
ZOOM = 2.5  # at most, of the pictures of a subject; half of them are not zoomed into
NOISE = 0.02  # standard deviation, on pictures in 0..1: references of an artist are no exact renderings
SHARPNESS = 10.0  # of the comparison among the prompts of a batch
TAGS = {
    "subject": ("@image_1", "@image_3"),
    "background": ("@image_2", "@image_4"),
    "motion": ("@video_1", "@video_2"),
    "sound": ("@audio_0", "@audio_1", "@audio_2"),
}


def encode_batch(
    tokenizer: Tokenizer, encoder: TextEncoder, captions: Sequence[str], media: Sequence[Mapping[str, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Captions with their references -> text [B, L, D] (zeros at padding), pooled [B, D].

    media: for each caption, tag -> picture or clip [F, H, W, 3] in 0..1, or sound [channels, S] at 44.1 kHz. Media of
    one shape are encoded together. ValueError if a caption does not name a tag that it has media for, or if the encoder
    perceives none.
    """
    groups: dict[tuple[int, ...], list[tuple[int, str]]] = {}
    for row, references in enumerate(media):
        for tag, medium in references.items():
            groups.setdefault(tuple(medium.shape), []).append((row, tag))
    vectors: dict[tuple[int, str], Tensor] = {}
    for shape, places in groups.items():
        if encoder.media is None:
            raise ValueError("the text encoder perceives no media: train it with training.media")
        encode = encoder.media.pictures if len(shape) == 4 else encoder.media.sounds
        vectors.update(zip(places, encode(torch.stack([media[row][tag] for row, tag in places])), strict=True))
    inserts = []
    for row, (text, references) in enumerate(zip(captions, media, strict=True)):
        positions = tag_positions(text, references)
        if missing := references.keys() - set(positions.values()):
            raise ValueError(f"caption {text!r} does not name {', '.join(sorted(missing))}")
        inserts.append({position: vectors[row, tag] for position, tag in positions.items()})
    return encoder.encode_prompt(tokenizer.batch(captions), inserts)


def draw_scenes(count: int, generator: torch.Generator, *, held_out: bool) -> Scenes:
    """Random scenes of FRAMES frames, from the combinations for training or from those that are held out."""
    scenes = sample_scenes(30 * count, frames=FRAMES, generator=generator)
    chosen = [i for i in range(len(scenes)) if is_held_out(scenes.attributes(i)) == held_out][:count]
    return scenes.select(torch.tensor(chosen), FRAMES)


def draw_references(scenes: Scenes, generator: torch.Generator) -> list[dict[str, Tensor]]:
    """For each scene: part of it -> what shows that part alone, all else being random.

    Subject: a picture [1, H, W, 3] of the same shape on any background, perhaps close up. Background: the empty box.
    Motion: a clip [F, H, W, 3] of any shape that is as fast. Sound: that of another flight of the shape [1, S]; missing
    if silent.
    """
    count = len(scenes)
    options = {"generator": generator, "level": scenes.level}
    subjects = close_up(sample_scenes(count, frames=1, shape=scenes.shape, colour=scenes.colour, **options), generator)
    clips = sample_scenes(min(count, CLIPS), frames=FRAMES, speed=scenes.speed[:CLIPS], **options).render()
    flights = sample_scenes(count, frames=FRAMES, shape=scenes.shape, colour=scenes.colour, **options)
    sounding = set(flights.bounces()[0].tolist())

    def pictures(video: Tensor) -> Tensor:
        images = (video.movedim(1, -1) + 1) / 2  # [B, 3, F, H, W] in -1..1 -> [B, F, H, W, 3]
        return (images + NOISE * torch.randn(images.shape, generator=generator)).clamp(0, 1)

    shown = {"subject": pictures(subjects), "background": pictures(scenes.background_picture())}
    shown |= {"motion": pictures(clips), "sound": flights.sound()}
    return [
        {part: media[i] for part, media in shown.items() if i < len(media) and (part != "sound" or i in sounding)}
        for i in range(count)
    ]


def close_up(scenes: Scenes, generator: torch.Generator) -> Tensor:
    """The first frames [B, 3, 1, H, W] in -1..1, half of them zoomed into; all of the subject stays in sight."""
    frames, count = scenes.render()[:, :, 0], len(scenes)
    zoom = 1 + (ZOOM - 1) * torch.rand(count, 1, generator=generator) * (torch.arange(count) % 2)[:, None]
    centre = scenes.positions()[:, 0] / FRAME_SIZE * 2 - 1  # x, y in -1..1, as affine_grid counts
    room = 1 - scenes.radius()[:, None] / FRAME_SIZE * 2 * zoom
    shift = centre - torch.maximum(torch.minimum(centre, room), -room) / zoom
    transform = torch.cat([torch.diag_embed((1 / zoom).expand(-1, 2)), shift[..., None]], dim=2)
    grid = F.affine_grid(transform, list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="border", align_corners=False)[:, :, None]


def choose_references(
    available: Mapping[str, Tensor], generator: random.Random
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Some of the parts that can be shown, at least one -> part -> tag, tag -> media."""
    parts = [part for part in available if generator.random() < 0.5] or [generator.choice(list(available))]
    tags = {part: generator.choice(TAGS[part]) for part in parts}
    return tags, {tags[part]: available[part] for part in parts}


def training_batch(
    size: int, generator: torch.Generator, chooser: random.Random, *, held_out: bool = False
) -> tuple[list[str], list[dict[str, Tensor]], list[str], list[dict[str, str]]]:
    """Prompts with references, their media, the same prompts in words, and the facts that they state."""
    scenes = draw_scenes(size, generator, held_out=held_out)
    captions, media, words, facts = [], [], [], []
    for i, available in enumerate(draw_references(scenes, generator)):
        scene = captionable(scenes.attributes(i))
        references, shown = choose_references(available, chooser)
        replaced = {name for part in references for name in REFERENCES[part]} & scene.keys()
        said = choose_said(scene, chooser) | {name: scene[name] for name in replaced}
        stated = {name: value for name, value in said.items() if name not in replaced}
        captions.append(rephrase(stated, chooser, references))
        media.append(shown)
        words.append(rephrase(said, chooser))
        facts.append(said)
    return captions, media, words, facts


def captionable(scene: dict[str, str]) -> dict[str, str]:
    """The attributes that captions of the easy world have."""
    return {name: value for name, value in scene.items() if name in EASY}


def train_probe(tokenizer: Tokenizer, encoder: TextEncoder, seconds: float, generator: random.Random) -> AttributeProbe:
    """Reads attributes off the frozen encoder's output, trained on prompts in words; frozen in its turn."""
    probe = AttributeProbe(encoder.config.dim)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=1e-2)
    start = time.monotonic()
    while (done := (time.monotonic() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - done)
        said = [choose_said(sample_scene(generator, easy=True, held_out=False), generator) for _ in range(64)]
        tokens, target = tokenizer.batch([rephrase(facts, generator) for facts in said]), labels(said)
        logits = probe(*encoder(tokens), tokens != PAD)
        loss = sum(F.cross_entropy(guess, target[:, i]) for part in logits for i, guess in enumerate(part))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return probe.requires_grad_(False)


def loss_terms(tokenizer: Tokenizer, encoder: TextEncoder, probe: AttributeProbe, batch) -> dict[str, Tensor]:
    """The objective on one batch of `training_batch`, term by term."""
    captions, media, words, facts = batch
    sequence, pooled = encode_batch(tokenizer, encoder, captions, media)
    with torch.no_grad():
        _, meant = encoder(tokenizer.batch(words))
        unit = F.normalize(meant, dim=1)
        neighbours = (SHARPNESS * unit @ unit.T).softmax(1)  # prompts that state the same facts are no rivals
    target = labels(facts)
    present = sequence.abs().sum(-1) > 0
    read = [
        torch.stack([F.cross_entropy(guess, target[:, i]) for i, guess in enumerate(part)]).mean()
        for part in probe(sequence, pooled, present)
    ]
    return {
        "pooled": F.mse_loss(pooled, meant),
        "among": F.cross_entropy(SHARPNESS * F.normalize(pooled, dim=1) @ unit.T, neighbours),
        "read from words": read[0],
        "read from pooled": read[1],
    }


@torch.inference_mode()
def evaluate(tokenizer: Tokenizer, encoder: TextEncoder, *, scenes: int, seed: int) -> dict[str, dict[str, float]]:
    """How often the words nearest to a prompt with references say the right value of an attribute, beside chance.

    Each prompt (a random wording, of combinations that the training never had, with new media) is compared by its
    pooled vector with the canonical prompts in words that differ in that attribute alone. "one": that part alone is a
    reference; "all": every part is; "blind": as "one" with media of another scene, right as often as two scenes agree.
    """
    generator, chooser = torch.Generator().manual_seed(seed), random.Random(seed)
    drawn = draw_scenes(scenes, generator, held_out=True)
    facts = [captionable(drawn.attributes(i)) for i in range(scenes)]
    parts = torch.arange(scenes).split(CLIPS)  # so that every scene gets its clip
    available = [shown for index in parts for shown in draw_references(drawn.select(index, FRAMES), generator)]

    def pooled(i: int, parts: Iterable[str], shown: Mapping[str, Tensor]) -> Tensor:
        references = {part: TAGS[part][0] for part in parts}
        replaced = {name for part in references for name in REFERENCES[part]}
        text = rephrase({n: value for n, value in facts[i].items() if n not in replaced}, chooser, references)
        return encode_batch(tokenizer, encoder, [text], [{tag: shown[part] for part, tag in references.items()}])[1]

    report = {}
    for part, name in ((part, name) for part, names in REFERENCES.items() for name in names if name in EASY):
        rows = [i for i in range(scenes) if part in available[i]]
        right = dict.fromkeys(("one", "all", "blind"), 0)
        for i in rows:
            others = [caption(facts[i] | {name: value}) for value in EASY[name]]
            meant = F.normalize(encoder(tokenizer.batch(others))[1], dim=1)
            guesses = {
                "one": pooled(i, [part], available[i]),
                "all": pooled(i, available[i], available[i]),
                "blind": pooled(i, [part], available[chooser.choice(rows)]),
            }
            for mode, guess in guesses.items():
                right[mode] += EASY[name][int((guess @ meant.T).argmax())] == facts[i][name]
        accuracy = {mode: round(count / len(rows), 4) for mode, count in right.items()}
        report[name] = {"chance": round(1 / len(EASY[name]), 4), **accuracy}
    return report


def train(
    tokenizer: Tokenizer, words: TextEncoder, seconds: float, *, seed: int = 0, size: int = 48, scenes: int = 200
) -> tuple[TextEncoder, dict[str, str]]:
    """Trains for about that many seconds on the CPU -> the encoder with its media encoder, facts for the metadata."""
    torch.manual_seed(seed)
    generator, chooser = torch.Generator().manual_seed(seed), random.Random(seed)
    encoder = TextEncoder(replace(words.config, media=True))
    encoder.load_state_dict(words.state_dict(), strict=False)
    encoder.eval().requires_grad_(False)
    if words.media is None:
        encoder.media = MediaEncoder(encoder.config.dim)
    else:  # go on from what it has learned, for a sequence of words that has changed a little
        encoder.media.train().requires_grad_(True)
    start = time.monotonic()
    probe = train_probe(tokenizer, encoder, seconds / 10, chooser)
    peak = 2e-3 if words.media is None else 7e-4
    optimizer = torch.optim.AdamW(encoder.media.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    step, done = 0, 0.0
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1, (step + 1) / 50) * (1 - min(done, 1))
        terms = loss_terms(tokenizer, encoder, probe, training_batch(size, generator, chooser))
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(encoder.media.parameters(), 1.0)
        optimizer.step()
        step, done = step + 1, (time.monotonic() - start) / seconds
        if step % 50 == 0:
            print(f"{done:4.0%} step {step}", *(f"{name} {x.item():.3f}" for name, x in terms.items()), flush=True)
    spent = time.monotonic() - start
    encoder.requires_grad_(False)
    facts = {
        "media_held_out_accuracy": json.dumps(evaluate(tokenizer, encoder, scenes=scenes, seed=seed + 1)),
        "media_training": f"{step} steps of {size} prompts, {spent:.0f} s of CPU, level easy, seed {seed}",
    }
    return encoder, facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, default=Path("models/weights/mini_text_encoder.safetensors"))
    parser.add_argument("--out", type=Path, help="file to write; the weights file itself if not given")
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokenizer, words = load_text_encoder(arguments.weights)
    with safe_open(arguments.weights, framework="pt") as file:
        before = {name: fact for name, fact in file.metadata().items() if name not in ("architecture", "vocabulary")}
    if words.media is not None:
        before["media_training_before"] = before["media_training"]
    encoder, facts = train(tokenizer, words, arguments.seconds, seed=arguments.seed)
    path = arguments.out or arguments.weights
    save_text_encoder(path, tokenizer, encoder, **(before | facts))
    print(json.dumps({name: json.loads(x) if x[0] == "{" else x for name, x in facts.items()}, indent=1))
    print(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
