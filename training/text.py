"""Trains Mini's text encoder on captions alone; afterwards it is frozen, as SkyReels-V4 freezes its language model.

    python -m training.text --out models/weights --seconds 180

Four terms, so that a prompt's meaning is easy to read, synonyms land close together, and no word is lost:
every attribute of the scene (or "not said") is predicted from the pooled vector and from the words of the sequence; two
wordings of the same facts are drawn together; every word is recovered from the sequence, also where it was masked.

    python -m training.text --start models/weights/mini_text_encoder.safetensors --seconds 300

goes on from another encoder and learns the instructions of the paired worlds, while what it makes of captions stays
what it was (a fifth term), so that a network trained on it need not learn anew.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from models.text_encoder import (
    MASK,
    PAD,
    UNKNOWN,
    TextEncoder,
    TextEncoderConfig,
    Tokenizer,
    load_text_encoder,
    save_text_encoder,
)
from training.captions import ATTRIBUTES, EASY, choose_said, rephrase, vocabulary
from training.toybox import sample_scenes
from training.worlds import WORLDS

NOT_SAID = 0  # class 0 of every attribute; its values follow in the order of ATTRIBUTES
# What an instruction states about its target, by world; that it is of this world, all of them state.
STATED = {
    "replace subject": ("shape", "colour"),
    "colour": ("colour",),
    "shape": ("shape",),
    "background": ("background",),
    "motion": ("background",),
}
STAY = 4.0  # weight of captions staying what they were, where an encoder goes on from another one
STRAY_WORD = "quux"  # stands for any word that is not in the vocabulary


class AttributeProbe(nn.Module):
    """Predicts every attribute, once from the pooled vector and once from the other tokens; for training only."""

    def __init__(self, dim: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(len(ATTRIBUTES), dim) * dim**-0.5)
        self.no_word = nn.Parameter(torch.zeros(dim))
        self.from_words, self.from_pooled = (
            nn.ModuleList(nn.Linear(dim, 1 + len(values)) for values in ATTRIBUTES.values()) for _ in range(2)
        )

    def forward(self, sequence: Tensor, pooled: Tensor, present: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """sequence [B, L, dim], pooled [B, dim], present [B, L] -> logits [B, 1 + values] of every attribute, twice"""
        words = torch.cat([self.no_word.expand_as(sequence[:, :1]), sequence[:, 1:]], dim=1)
        scores = (self.queries @ words.transpose(1, 2)).masked_fill(~present[:, None], -torch.inf)
        read = scores.softmax(-1) @ words  # [B, attributes, dim]
        by_words = [head(read[:, i]) for i, head in enumerate(self.from_words)]
        return by_words, [head(pooled) for head in self.from_pooled]


def sample_attributes(generator: random.Random, *, easy: bool) -> dict[str, str]:
    """Random attributes of a scene; half of those that are not easy have one object instead of two."""
    scene = {name: generator.choice(values) for name, values in (EASY if easy else ATTRIBUTES).items()}
    if not easy and generator.random() < 0.5:
        scene = {name: value for name, value in scene.items() if not name.startswith("second_")}
    return scene


def is_held_out(scene: dict[str, str]) -> bool:
    """A tenth of the combinations of shape, colour and background is kept from the training, to measure on."""
    index = sum(
        weight * ATTRIBUTES[name].index(scene[name])
        for name, weight in (("shape", 3), ("colour", 1), ("background", 7))
    )
    return index % 10 == 4


def sample_scene(generator: random.Random, *, easy: bool, held_out: bool) -> dict[str, str]:
    """Random attributes, from the combinations for training or from those that are held out."""
    while is_held_out(scene := sample_attributes(generator, easy=easy)) != held_out:
        pass
    return scene


def labels(said: list[dict[str, str]]) -> Tensor:
    """[B, attributes] class of every attribute, NOT_SAID where a caption leaves it out."""
    rows = [
        [1 + values.index(facts[name]) if name in facts else NOT_SAID for name, values in ATTRIBUTES.items()]
        for facts in said
    ]
    return torch.tensor(rows)


def corrupt(tokens: Tensor, rate: float = 0.2) -> Tensor:
    """Replaces that share of the words by <mask>, or by a random word in one case of five. tokens [B, L]"""
    chosen = (torch.rand(tokens.shape) < rate) & (tokens > MASK)
    noise = torch.where(
        torch.rand(tokens.shape) < 0.2, torch.randint(MASK + 1, int(tokens.max()) + 1, tokens.shape), MASK
    )
    return torch.where(chosen, noise, tokens)


def training_batch(
    tokenizer: Tokenizer, generator: random.Random, size: int, *, easy: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens of `size` pairs of wordings (first all firsts, then all seconds), labels [size, attributes], word rows.

    One wording in six gets a stray unknown word, so that the encoder reads on past it. The word rows are for word
    prediction: the first wordings, and random strings of words, which also teach the words no caption has.
    """
    said = [choose_said(sample_scene(generator, easy=easy, held_out=False), generator) for _ in range(size)]
    texts = [rephrase(facts, generator) for _ in range(2) for facts in said]
    strings = [" ".join(generator.choices(tokenizer.vocabulary, k=generator.randint(1, 14))) for _ in range(size // 3)]
    word_rows = tokenizer.batch(texts[:size] + strings)
    for i in generator.sample(range(2 * size), size // 3):
        words = texts[i].split()
        if len(words) < 15:
            words.insert(generator.randint(0, len(words)), STRAY_WORD)
            texts[i] = " ".join(words)
    return tokenizer.batch(texts), labels(said), word_rows


def loss_terms(encoder: TextEncoder, probe: AttributeProbe, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """The four terms of the objective on one batch of `training_batch`."""
    tokens, target, words = batch
    sequence, pooled = encoder(tokens)
    present = tokens != PAD
    logits = probe(sequence, pooled, present)
    twice = torch.cat([target, target])
    by_words, by_pooled = (
        torch.stack([F.cross_entropy(x, twice[:, i]) for i, x in enumerate(group)]).sum() / 3 for group in logits
    )
    mean = sequence.sum(1) / present.sum(1, keepdim=True)
    first, second = torch.stack([pooled, mean]).chunk(2, dim=1)
    together = 2 - 2 * F.cosine_similarity(first, second, dim=-1).mean()
    recovered = encoder(corrupt(words))[0] @ encoder.embedding.weight.T
    ignored = words.masked_fill(words <= UNKNOWN, -100)
    word = F.cross_entropy(recovered.flatten(0, 1), ignored.flatten(), ignore_index=-100)
    return {"words": by_words, "pooled": by_pooled, "together": together, "recovered": word}


class Instructions:
    """Prompts of the paired worlds, in two wordings each, and the probe that tells them apart."""

    def __init__(self, dim: int, seed: int):
        self.generator, self.words = torch.Generator().manual_seed(seed), random.Random(seed)
        self.probe = nn.Linear(dim, len(WORLDS))

    def batch(self, worlds: int, size: int) -> tuple[list[str], list[str], Tensor, dict[str, Tensor]]:
        """`size` prompts each of some random worlds: first wordings, second wordings, world [B], attribute -> [B].

        Attributes are classes of `AttributeProbe`; -1 where a prompt does not state them.
        """
        first, second, which = [], [], []
        stated: dict[str, list[Tensor]] = {name: [] for name in ("shape", "colour", "background")}
        for name in self.words.sample(list(WORLDS), worlds):
            scenes = sample_scenes(size, frames=5, generator=self.generator)
            state = self.generator.get_state()
            example = WORLDS[name].make(scenes, self.generator, self.words)
            self.generator.set_state(state)  # the same facts in other words
            first += example.captions
            second += WORLDS[name].make(scenes, self.generator, self.words).captions
            which += [list(WORLDS).index(name)] * size
            for attribute, classes in stated.items():
                said = attribute in STATED.get(name, ()) and example.scenes is not None
                names = [example.scenes.attributes(i)[attribute] if said else "" for i in range(size)]
                classes += [1 + ATTRIBUTES[attribute].index(value) if value else -1 for value in names]
        return first, second, torch.tensor(which), {name: torch.tensor(rows) for name, rows in stated.items()}

    def loss(self, tokenizer: Tokenizer, encoder: TextEncoder, probe: AttributeProbe) -> dict[str, Tensor]:
        """Which world, what is stated, two wordings alike, every word recovered."""
        first, second, which, stated = self.batch(8, 6)
        tokens = tokenizer.batch(first + second)
        sequence, pooled = encoder(tokens)
        by_words, by_pooled = probe(sequence, pooled, tokens != PAD)
        task = F.cross_entropy(self.probe(pooled), torch.cat([which, which]))
        read = torch.zeros(())
        for i, attribute in enumerate(ATTRIBUTES):
            if attribute in stated and (target := torch.cat([stated[attribute]] * 2)).ge(0).any():
                for logits in (by_words[i], by_pooled[i]):
                    read = read + F.cross_entropy(logits, target, ignore_index=-1) / 3
        together = 1 - F.cosine_similarity(*pooled.chunk(2), dim=-1).mean()
        recovered = encoder(corrupt(tokens))[0] @ encoder.embedding.weight.T
        word = F.cross_entropy(recovered.flatten(0, 1), tokens.masked_fill(tokens <= UNKNOWN, -100).flatten())
        return {"task": task, "stated": read, "worded": together, "its words": word}

    @torch.no_grad()
    def accuracy(self, tokenizer: Tokenizer, encoder: TextEncoder) -> dict[str, float]:
        """How often the world is read rightly off the pooled vector of fresh prompts, beside chance."""
        first, _, which, _ = self.batch(len(WORLDS), 20)
        _, pooled = encoder(tokenizer.batch(first))
        right = self.probe(pooled).argmax(-1) == which
        return {"said": round(right.float().mean().item(), 4), "chance": round(1 / len(WORLDS), 4)}


def go_on_from(path: Path, encoder: TextEncoder, tokenizer: Tokenizer) -> tuple[Tokenizer, TextEncoder]:
    """Copies another encoder's weights, word by word, into a new one; returns the other one."""
    known, before = load_text_encoder(path)
    state = before.state_dict()
    rows = encoder.embedding.weight.detach().clone()
    rows[: UNKNOWN + 2] = state["embedding.weight"][: UNKNOWN + 2]
    places = {word: i + len(tokenizer) - len(tokenizer.vocabulary) for i, word in enumerate(tokenizer.vocabulary)}
    for i, word in enumerate(known.vocabulary):
        if word in places:
            rows[places[word]] = state["embedding.weight"][i + len(known) - len(known.vocabulary)]
    encoder.load_state_dict({**state, "embedding.weight": rows}, strict=True)
    return known, before


@torch.no_grad()
def evaluate(tokenizer: Tokenizer, encoder: TextEncoder, probe: AttributeProbe, *, scenes: int, seed: int) -> dict:
    """Share of attributes read rightly off captions of held-out scenes, beside chance.

    said: attributes the caption says (chance: 1 / number of values); all: captions read without any mistake, "not said"
    included; recovered words: share of the words read off their own place in the sequence.
    """
    generator = random.Random(seed)
    report = {}
    for level, easy in (("easy", True), ("all", False)):
        said = [choose_said(sample_scene(generator, easy=easy, held_out=True), generator) for _ in range(scenes)]
        tokens, target = tokenizer.batch([rephrase(facts, generator) for facts in said]), labels(said)
        sequence, pooled = encoder(tokens)
        values = torch.tensor([len((EASY if easy else ATTRIBUTES).get(name, [1])) for name in ATTRIBUTES])
        is_said = target != NOT_SAID
        chance = (1 / values).expand_as(target)[is_said].mean()
        for source, logits in zip(("words", "pooled"), probe(sequence, pooled, tokens != PAD), strict=True):
            right = torch.stack([x.argmax(-1) for x in logits], dim=1) == target
            report[f"{level} {source}"] = {
                "said": round(right[is_said].float().mean().item(), 4),
                "chance": round(chance.item(), 4),
                "not said": round(right[~is_said].float().mean().item(), 4),
                "all": round(right.all(1).float().mean().item(), 4),
            }
    strings = tokenizer.batch([" ".join(generator.choices(tokenizer.vocabulary, k=12)) for _ in range(scenes)])
    guess = (encoder(strings)[0] @ encoder.embedding.weight.T).argmax(-1)
    report["recovered words"] = round((guess == strings)[strings > MASK].float().mean().item(), 4)
    return report


def train(
    seconds: float,
    *,
    seed: int = 0,
    pairs: int = 64,
    scenes: int = 2000,
    learning_rate: float = 3e-3,
    start: Path | None = None,
):
    """Trains for about that many seconds on the CPU -> tokenizer, encoder, facts (strings) for the metadata.

    start: an encoder to go on from, with the instructions of the worlds; it keeps its media encoder as it is.
    """
    torch.manual_seed(seed)
    generator = random.Random(seed)
    tokenizer = Tokenizer(vocabulary())
    media = start is not None and load_text_encoder(start)[1].media is not None
    config = TextEncoderConfig(tokens=len(tokenizer), dim=128, heads=4, blocks=2, mlp_dim=256, media=media)
    encoder = TextEncoder(config)
    nn.init.normal_(encoder.embedding.weight, std=encoder.config.dim**-0.5)
    known, before = (None, None) if start is None else go_on_from(start, encoder, tokenizer)
    probe, instructions = AttributeProbe(encoder.config.dim), Instructions(encoder.config.dim, seed)
    learned = [parameter for name, parameter in encoder.named_parameters() if not name.startswith("media.")]
    parameters = [*learned, *probe.parameters(), *instructions.probe.parameters()]
    if start is not None:
        learning_rate /= 2
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    began, step, done = time.monotonic(), 0, 0.0
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 100) * (1 - min(done, 1))
        batch = training_batch(tokenizer, generator, pairs, easy=generator.random() < 0.6)
        terms = loss_terms(encoder, probe, batch)
        terms |= instructions.loss(tokenizer, encoder, probe)
        if before is not None and known is not None:
            terms["stays"] = STAY * change(before, known, encoder, tokenizer, generator)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step, done = step + 1, (time.monotonic() - began) / seconds
        if step % 100 == 0:
            print(f"{done:4.0%} step {step}", *(f"{name} {x.item():.3f}" for name, x in terms.items()), flush=True)
    encoder.eval()
    report = evaluate(tokenizer, encoder, probe, scenes=scenes, seed=seed + 1)
    report["instructions pooled"] = instructions.accuracy(tokenizer, encoder)
    facts = {
        "held_out_attribute_accuracy": json.dumps(report),
        "training": f"{step} steps of {pairs} pairs of captions, {time.monotonic() - began:.0f} s of CPU, seed {seed}",
    }
    if before is not None and known is not None:
        with torch.no_grad():
            facts["captions_changed"] = f"{change(before, known, encoder, tokenizer, generator):.4f} of variance 1"
    return tokenizer, encoder, facts


def change(
    before: TextEncoder, known: Tokenizer, encoder: TextEncoder, tokenizer: Tokenizer, generator: random.Random
) -> Tensor:
    """Mean squared difference between what two encoders make of captions; their outputs have variance 1."""
    said = [choose_said(sample_scene(generator, easy=True, held_out=False), generator) for _ in range(32)]
    texts = [rephrase(facts, generator) for facts in said] + [""]
    with torch.no_grad():
        was, _ = before(known.batch(texts))
    tokens = tokenizer.batch(texts)
    is_now, _ = encoder(tokens)
    there = (tokens != PAD)[..., None]
    return ((is_now - was).square() * there).sum() / (there.sum() * was.shape[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("models/weights"), help="folder of the weights file")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help="encoder to go on from")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tokenizer, encoder, facts = train(arguments.seconds, seed=arguments.seed, start=arguments.start)
    if arguments.start is not None:
        with safe_open(arguments.start, "pt") as file:
            before = file.metadata()
        facts = {name: fact for name, fact in before.items() if name not in ("architecture", "vocabulary")} | facts
        facts["training_before"] = before["training"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "mini_text_encoder.safetensors"
    save_text_encoder(path, tokenizer, encoder, **facts)
    print(json.dumps({name: json.loads(x) if x[0] == "{" else x for name, x in facts.items()}, indent=1))
    print(f"wrote {path} ({path.stat().st_size / 1e6:.2f} MB, {len(tokenizer)} tokens)")


if __name__ == "__main__":
    main()
