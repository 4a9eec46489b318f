"""Paired worlds: what SkyReels-V4 calls synthetic data (sec. 3.4.1), one for every editing task of its Table 3.

A world takes scenes of the toybox and makes an `Example` of them: the clip to learn, its sound, an instruction, and
what the instruction refers to (a clip to edit, a picture, a voice). Both sides of a pair are rendered from the same
scene, so the truth of every edit is known, and with it what must not change.

    example = WORLDS["logo"].make(scenes, torch.Generator().manual_seed(0))
    example.source, example.video, example.captions[0]   # "remove the logo from @video_1"
"""

from training.worlds.example import Example, World
from training.worlds.registry import TABLE_3, WORLDS

__all__ = ["TABLE_3", "WORLDS", "Example", "World"]
