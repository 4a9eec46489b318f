"""All worlds by name, and where in Table 3 of SkyReels-V4 each belongs."""

from __future__ import annotations

from functools import partial

from training.worlds import edits, effects, faces, references, shots, sounds, styles
from training.worlds.example import World

# Layouts: "clip" (to edit), "clip and picture", "first frame and clip", "voice", "words" (nothing but a caption).
_WORLDS = (
    World("watermark", "clip", edits.watermark),
    World("subtitle", "clip", edits.subtitle),
    World("logo", "clip", edits.logo),
    World("add", "clip", edits.add),
    World("delete", "clip", edits.delete),
    World("delete subject", "clip", edits.delete_subject),
    World("replace subject", "clip", edits.replace_subject),
    World("colour", "clip", edits.colour),
    World("texture", "clip", edits.texture),
    World("shape", "clip", edits.shape),
    World("background", "clip", edits.background),
    *(
        World(name, "clip", partial(lambda scenes, generator, say, name: styles.apply(name, scenes, say), name=name))
        for name in styles.GLOBAL
    ),
    World("background picture", "clip and picture", references.background_picture),
    World("motion", "clip and picture", references.motion),
    World("expression", "clip and picture", faces.expression),
    World("effect", "first frame and clip", effects.effect),
    World("speaker", "voice", faces.speaker),
    World("speech", "words", faces.speech),
    World("bgm", "words", sounds.bgm),
    World("singing", "words", sounds.singing),
    World("two shots", "words", shots.two_shots),
)
WORLDS: dict[str, World] = {world.name: world for world in _WORLDS}
# Subtask of Table 3 -> the worlds that stand for it.
TABLE_3: dict[str, tuple[str, ...]] = {
    "Element Removal": ("watermark", "subtitle", "logo"),
    "Subject Manipulation": ("add", "delete", "delete subject", "replace subject"),
    "Attribute Editing": ("colour", "texture", "shape"),
    "Background Editing": ("background",),
    "Style Transfer": ("outline", "paper cut", "blocks"),
    "Camera Control": ("pan right", "pan left", "zoom in", "tilt"),
    "Scene Attributes": ("night", "snow", "warm tone"),
    "Subject + Motion Ref": ("motion",),
    "Subject + Expression Ref": ("expression",),
    "Background + Video Ref": ("background picture",),
    "First-Frame + Effect Ref": ("effect",),
}
