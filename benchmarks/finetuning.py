"""Whether a folder of clips teaches Mini what it did not know: `python3 -m benchmarks.finetuning runs/teal`.

Writes clips of the toybox on a background that Mini has never seen, and their captions, as an artist's folder would be;
trains a LoRA on them; prints the losses on clips that were held out, and how many frames have the background that a
prompt asks for, before and after: the new one, and one that Mini knew (what was forgotten).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import torch
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.quality.detectors import look
from benchmarks.quality.pipeline import Mini, Sampling
from training.captions import caption
from training.finetune import WEIGHTS, Settings, finetune
from training.lora import merge_lora
from training.media import captionable
from training.toybox import FRAME_RATE, LEVELS, SAMPLE_RATE, Scenes, sample_scenes

LEVEL = LEVELS["medium"]
EASY = LEVELS["easy"]
NEW, KNOWN = "teal", "navy"  # backgrounds: one that Mini was never shown, and one that it was trained on
CLIPS, FRAMES, PROMPTS = 24, 25, 8
SAMPLING = Sampling(steps=12, seed=5)


def write_clip(path: Path, video: Tensor, sound: Tensor | None) -> None:
    """Writes video [3, F, H, W] in [-1, 1] as H.264 and sound [1, S] in [-1, 1] as AAC."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=round(FRAME_RATE), options={"crf": "10"})
        stream.height, stream.width = video.shape[2:]
        stream.pix_fmt = "yuv444p"
        voice = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if sound is not None else None
        for picture in ((video.movedim(0, -1) + 1) * 127.5).round().byte().numpy():
            file.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
        if voice is not None:
            frame = AudioFrame.from_ndarray(sound.numpy(), format="fltp", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            file.mux(voice.encode(frame))
            file.mux(voice.encode())


def scenes_on(background: str | None, count: int, *, frames: int, seed: int) -> Scenes:
    """Random scenes in all that Mini knows, but for the background; None: in that too."""
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[str, Any] = {
        name: torch.randint(len(EASY.choices(name)), (count,), generator=generator)
        for name in ("shape", "colour", "background")
    }
    drawn |= {"size": "large"} | ({"background": background} if background else {})
    return sample_scenes(count, frames=frames, level=LEVEL, generator=generator, **drawn)


def captions_of(scenes: Scenes) -> list[str]:
    return [caption(captionable(scenes.attributes(i))) for i in range(len(scenes))]


def write_folder(folder: Path, name: str, scenes: Scenes) -> None:
    """Clips with their captions in text files beside them; those that are there stay, for a run that goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = zip(scenes.render(), scenes.sound(), captions_of(scenes), strict=True)
    for i, (video, sound, text) in enumerate(clips):
        caption_file = folder / f"{name}_{i:02}.txt"
        if not caption_file.exists():
            write_clip(caption_file.with_suffix(".mp4"), video, sound)
            caption_file.write_text(text)


def share_of_background(mini: Mini, background: str) -> float:
    """Frames whose background is the one that the prompt names, of PROMPTS clips."""
    prompts = captions_of(scenes_on(background, PROMPTS, frames=1, seed=99))
    seen = look(mini.generate(prompts, frames=17, sampling=SAMPLING).video, LEVEL).background
    return (seen == LEVEL.choices("background").index(background)).float().mean().item()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where clips, LoRA and work of the training go")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--minutes", type=float, default=Settings.minutes)
    parser.add_argument("--rank", type=int, default=Settings.rank)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--known", type=int, default=0, help="clips of what Mini knows, in the folder as well")
    values = vars(parser.parse_args(arguments))
    folder, known = values.pop("folder"), values.pop("known")
    write_folder(folder / "clips", NEW, scenes_on(NEW, CLIPS, frames=FRAMES, seed=1))
    if known:
        write_folder(folder / "clips", "known", scenes_on(None, known, frames=FRAMES, seed=2))
    settings = Settings(folder / "clips", folder / f"{NEW}_lora.safetensors", **values)
    finetune(settings)
    mini = Mini.load(WEIGHTS, settings.model)
    shares = {"base": [share_of_background(mini, background) for background in (NEW, KNOWN)]}
    merge_lora(mini.network, load_file(settings.out))
    shares["fine-tuned"] = [share_of_background(mini, background) for background in (NEW, KNOWN)]
    for name, (new, known) in shares.items():
        print(f"{name}: {new:.2f} of the frames are {NEW} where the prompt says so, {known:.2f} {KNOWN}")


if __name__ == "__main__":
    main()
