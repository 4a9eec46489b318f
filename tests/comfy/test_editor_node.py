"""The editor's node: the canvas that its text and its media make, read no further than needed, and clear errors."""

import asyncio
import json
from fractions import Fraction

import comfy.model_management
import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from media_files import clip_file, frame_of, picture_file, ramp, sound_file
from node_tools import noise
from PIL import Image
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.document import Box, CanvasError, Document
from skycanvas.canvas.pixels import Pixels
from skycanvas.canvas.sound import mix
from skycanvas.nodes import editor
from skycanvas.nodes.editor import SkyCanvasEditor, cut, filled, in_file, joined
from skycanvas.nodes.files import Clip

EMPTY = editor.EMPTY.json()
BOX = {"x": 0, "y": 0, "width": 16, "height": 16}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """ComfyUI's input folder, empty."""
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path / "temp"))
    (tmp_path / "input").mkdir()
    return tmp_path / "input"


def text_of(media, placements=(), sounds=(), regions=(), references=(), frames=17, fps=16) -> str:
    """A canvas of 32 x 32 pixels; ids and boxes are filled in."""

    def named(kind, items, **fields):
        return [{"id": f"{kind}_{i}", **fields, **item} for i, item in enumerate(items)]

    document = {
        "format": "skycanvas", "version": 2, "width": 32, "height": 32, "frames": frames, "fps": fps, "media": media,
        "placements": named("placement", placements, frame=0, frames=1, box=BOX), "sounds": named("sound", sounds),
        "regions": named("region", regions), "references": list(references),
    }  # fmt: skip
    return json.dumps(document)


def run(text, **wired):
    return SkyCanvasEditor.execute(text, **wired)


def canvas_of(text, **wired) -> Canvas:
    return run(text, **wired).result[0]


def numbers(canvas: Canvas, frames=None) -> list[int]:
    """Which frames of a `clip_file` the frames of a canvas show at their top left, -1 for none."""
    pixels = Pixels(canvas)
    shown = [pixels.frame(frame) for frame in frames or range(canvas.document.frames)]
    return [frame_of(255 * f.picture[4, 4]) if f.given[4, 4] else -1 for f in shown]


# --- the node


def test_untouched_it_is_an_empty_canvas():
    canvas = canvas_of(EMPTY)
    assert canvas.document == Document(width=64, height=64, frames=17, fps=16) and not canvas.media
    (entry,) = [entry for entry in SkyCanvasEditor.define_schema().inputs if entry.id == "document"]
    assert entry.default == EMPTY == canvas.document.json() and entry.multiline and not entry.socketless


def test_order_of_its_inputs():
    """Workflows hold them: never rename one, only append."""
    assert [entry.id for entry in SkyCanvasEditor.define_schema().inputs] == [
        "document", "images", "videos", "sounds", "masks",
    ]  # fmt: skip


def test_old_documents_still_open():
    document = json.loads(EMPTY) | {"version": 1}
    assert canvas_of(json.dumps(document)).document.json() == EMPTY


# --- files


def test_the_same_as_the_canvas_nodes_make(folder):
    """Pixel for pixel and name for name: media are named by their content."""
    picture_file(folder / "a.png", (16, 16), "RGBA")
    waveform = ramp(22050, 2)
    sound_file(folder / "a.wav", waveform)
    text = text_of(
        {
            "colours": {"kind": "image", "file": "a.png"},
            "shape": {"kind": "mask", "file": "a.png", "width": 16, "height": 16, "frames": 1},
            "voice": {"kind": "sound", "file": "a.wav"},
        },
        [{"media": "colours", "alpha": "shape", "frames": 4, "path": [{"at": 3, "box": {**BOX, "x": 8}}]}],
        [{"media": "voice", "time": 0.25, "start": 0.0, "duration": 0.5}],
        [{"kind": "mask", "action": "generate", "media": "shape", "frame": 1, "frames": 2, "box": BOX, "path": []}],
        [{"tag": "@image_1", "media": "colours"}],
    )
    image = torch.from_numpy(np.array(Image.open(folder / "a.png"))).float()[None] / 255
    expected = Canvas.new(32, 32, 17, 16).place_image(image, frames=4, to=Box(x=8, y=0, width=16, height=16))
    expected = expected.place_sound(waveform, 44100, time=0.25, duration=0.5)
    expected = expected.region_mask("generate", image[..., 3], frame=1, frames=2, box=Box(**BOX))
    expected = expected.reference(image[..., :3], kind="image")
    canvas = canvas_of(text)
    assert dict(canvas.document.media) == dict(expected.document.media)
    for name, tensor in expected.media.items():
        assert torch.equal(canvas.media[name], tensor)
    for frame in range(17):
        assert torch.equal(Pixels(canvas).frame(frame).picture, Pixels(expected).frame(frame).picture)


@pytest.mark.parametrize("fps", [16, 8, 30, 23.976])
@pytest.mark.parametrize("start", [0.0, 0.5, 1 / 3, 2.0])
def test_a_clip_shows_the_frames_of_its_times(folder, fps, start):
    clip_file(folder / "a.mkv", 64, rate=16)
    media = {"a": {"kind": "clip", "file": "a.mkv"}}
    text = text_of(media, [{"media": "a", "frame": 2, "frames": 12, "start": start}], fps=fps)
    document = filled(Document.parse(text), in_file)
    frames = [document.clip_frame(document.placements[0], frame) for frame in range(2, 14)]
    canvas = canvas_of(text)
    assert numbers(canvas, range(2, 14)) == frames and numbers(canvas, [0, 1, 14]) == [-1] * 3
    (name,) = canvas.media
    assert len(canvas.media[name]) == frames[-1] - frames[0] + 1


def test_only_what_is_shown_is_read(folder, monkeypatch):
    clip_file(folder / "a.mkv", 190, sound=ramp(44100 * 11))
    reads = []
    read = Clip.read
    monkeypatch.setattr(
        Clip, "read", lambda self, kind, *span: reads.append((kind, *span[:2])) or read(self, kind, *span)
    )
    media = {
        "a": {"kind": "clip", "file": "a.mkv"},
        "voice": {"kind": "sound", "file": "a.mkv"},
        "shape": {"kind": "mask", "file": "a.mkv"},
        "never": {"kind": "clip", "file": "gone.mkv"},
    }
    placements = [
        {"media": "a", "frames": 3, "start": 10.0, "alpha": "shape"},
        {"media": "a", "frame": 3, "frames": 4, "start": 10.125},
        {"media": "a", "frame": 9, "frames": 5, "start": 1.0},
    ]
    canvas = canvas_of(text_of(media, placements, [{"media": "voice", "time": 0, "start": 6.5, "duration": 0.25}]))
    assert sorted(reads) == [
        ("clip", 16, 21), ("clip", 160, 166), ("mask", 160, 166), ("sound", 5 * 44100, 8 * 44100),
    ]  # fmt: skip
    assert numbers(canvas)[3:14] == [162, 163, 164, 165, -1, -1, 16, 17, 18, 19, 20]
    heard = mix(canvas, 44100).waveform
    expected = ramp(44100 * 11)[:, round(6.5 * 44100) : round(6.75 * 44100)]
    assert torch.equal(heard[:, : round(0.25 * 44100)], expected)


def test_a_cut_sound_is_resampled_as_the_whole(folder):
    waveform = 0.5 * torch.sin(torch.arange(48000 * 6) ** 1.2 / 300)[None]
    sound_file(folder / "a.wav", waveform, rate=48000)
    media = {"a": {"kind": "sound", "file": "a.wav"}}
    canvas = canvas_of(text_of(media, (), [{"media": "a", "time": 0.1, "start": 3.4567, "duration": 0.7}]))
    whole = (waveform * 32768).round() / 32768
    expected = Canvas.new(32, 32, 17, 16).place_sound(whole, 48000, time=0.1, start=3.4567, duration=0.7)
    torch.testing.assert_close(mix(canvas, 44100).waveform, mix(expected, 44100).waveform, rtol=0, atol=1e-5)
    assert next(iter(canvas.media.values())).shape[1] == 4 * 48000


def test_spans_that_touch_are_one():
    assert joined([(5, 9), (0, 2), (2, 4), (6, 7), (9, 9)]) == [(0, 4), (5, 9)]


def test_many_parts_keep_their_frames():
    """Cutting changes nothing that is shown, whatever the rates."""
    generator = np.random.default_rng(3)
    for _ in range(40):
        rate, fps = (float(generator.choice([8, 12.5, 16, 23.976, 24, 29.97, 30, 60])) for _ in range(2))
        media = {"a": {"kind": "clip", "width": 16, "height": 16, "frames": 90_000, "fps": rate, "file": "a.mkv"}}
        starts = generator.uniform(0, 500, 12).round(int(generator.integers(0, 6)))
        placements = [{"media": "a", "frame": i, "frames": 5, "start": float(s)} for i, s in enumerate(starts)]
        whole = Document.parse(text_of(media, placements, fps=fps))
        short, parts = cut(whole)
        for old, new in zip(whole.placements, short.placements, strict=True):
            for frame in range(old.frame, old.frame + 5):
                assert whole.clip_frame(old, frame) == parts[new.media].begin + short.clip_frame(new, frame)


def test_surround_sound_is_mixed_down(folder):
    sound_file(folder / "a.wav", ramp(30000, 6))
    media = {"a": {"kind": "sound", "file": "a.wav"}}
    canvas = canvas_of(text_of(media, (), [{"media": "a", "time": 0, "start": 0, "duration": 0.2}]))
    expected = Canvas.new(32, 32, 17, 16).place_sound(ramp(30000, 6), 44100, duration=0.2)
    assert torch.equal(mix(canvas, 44100).waveform, mix(expected, 44100).waveform)


# --- wires


def video(frames=9, size=16, fps=16, sound=None) -> InputImpl.VideoFromComponents:
    audio = None if sound is None else {"waveform": sound[None], "sample_rate": 44100}
    parts = Types.VideoComponents(images=noise(frames, size, size, 3), audio=audio, frame_rate=Fraction(fps))
    return InputImpl.VideoFromComponents(parts)


def test_what_is_wired_in(folder):
    waveform = ramp(22050)
    media = {
        "picture": {"kind": "image", "input": "image_0"},
        "opacity": {"kind": "mask", "input": "image_0"},
        "frames": {"kind": "clip", "input": "image_1"},
        "film": {"kind": "clip", "input": "video_0"},
        "its sound": {"kind": "sound", "input": "video_0"},
        "shape": {"kind": "mask", "input": "mask_0"},
        "voice": {"kind": "sound", "input": "sound_0"},
    }
    placements = [
        {"media": "picture", "alpha": "opacity"},
        {"media": "frames", "frame": 1, "frames": 3},
        {"media": "film", "frame": 4, "frames": 4, "alpha": "shape"},
    ]
    sounds = [{"media": name, "time": 0, "start": 0, "duration": 0.1} for name in ("voice", "its sound")]
    film, images = video(sound=waveform), noise(3, 16, 16, 3)
    node = run(
        text_of(media, placements, sounds),
        images={"image_0": noise(1, 16, 16, 4), "image_1": images, "image_2": None},
        videos={"video_0": film},
        sounds={"sound_0": {"waveform": waveform[None], "sample_rate": 44100}},
        masks={"mask_0": torch.ones(1, 16, 16)},
    )
    (canvas,) = node.result
    shown = [Pixels(canvas).frame(frame).picture[:16, :16] for frame in range(8)]
    assert torch.equal(torch.stack(shown[1:4]), images)
    assert torch.equal(torch.stack(shown[4:8]), film.get_components().images[:4])
    assert torch.equal(mix(canvas, 44100).waveform[:, :4410], 2 * waveform[:, :4410])
    (facts,) = {canvas.document.media[p.media].fps for p in canvas.document.placements[1:2]}
    assert facts == 16
    found = {entry["input"]: entry for entry in node.ui["skycanvas_inputs"]}
    assert [entry["kind"] for entry in found.values()] == ["image", "clip", "mask", "sound", "clip"]
    assert found["video_0"]["frames"] == 9 and found["video_0"]["fps"] == 16 and found["sound_0"]["samples"] == 22050
    assert found["sound_0"]["preview"] is None
    preview = found["image_1"]["preview"]
    path = folder_paths.get_temp_directory() + f"/{preview['subfolder']}/{preview['filename']}"
    assert preview["type"] == "temp" and np.array_equal(np.array(Image.open(path)), (images[0] * 255).round().byte())


def test_wired_file_is_read_in_part(folder, monkeypatch):
    path = clip_file(folder / "a.mkv", 64, sound=ramp(44100 * 4))
    wired = InputImpl.VideoFromFile(str(path)).as_trimmed(1.0, 2.0)
    media = {"a": {"kind": "clip", "input": "video_0"}}
    canvas = canvas_of(text_of(media, [{"media": "a", "frames": 4, "start": 1.5}]), videos={"video_0": wired})
    assert numbers(canvas, range(4)) == [40, 41, 42, 43]
    with pytest.raises(CanvasError, match="past the end of a clip of 2 s"):
        canvas_of(text_of(media, [{"media": "a", "frames": 4, "start": 2.0}]), videos={"video_0": wired})


def test_what_is_wired_in_may_have_changed_if_it_still_fits():
    """Whoever connects another picture wants that one."""
    said = {"kind": "clip", "input": "image_0", "width": 8, "height": 8, "frames": 5, "fps": 16}
    text = text_of({"a": said}, [{"media": "a", "frames": 5}])
    canvas = canvas_of(text, images={"image_0": noise(9, 16, 16, 3)})
    assert [len(tensor) for tensor in canvas.media.values()] == [5]
    with pytest.raises(CanvasError, match=r"placements\[0\].frames is 5, more than a clip of 3 frames at 16 fps fills"):
        canvas_of(text, images={"image_0": noise(3, 16, 16, 3)})


@pytest.mark.parametrize(
    "kind, wired, message",
    [
        ("image", {}, "input image_0 is not connected .nothing is connected.: connect it, or remove the media"),
        ("image", {"masks": {"mask_0": torch.ones(1, 8, 8)}}, "input image_0 is not connected .connected: mask_0.:"),
        ("image", {"images": {"image_0": noise(3, 8, 8, 3)}}, "image_0 is a batch of 3 pictures: it cannot be used as"),
        ("sound", {"images": {"image_0": noise(1, 8, 8, 3)}}, "image_0 is a picture.*: it cannot be used as a sound"),
        (
            "mask",
            {"images": {"image_0": noise(1, 8, 8, 3)}},
            "image_0 is a picture without an alpha channel: it cannot",
        ),
        ("image", {"masks": {"image_0": torch.ones(1, 8, 8)}}, "image_0 is a mask: it cannot be used as a picture"),
        ("image", {"videos": {"image_0": video()}}, "image_0 is a clip: it cannot be used as a picture"),
        ("sound", {"videos": {"image_0": video()}}, "image_0 is a clip without sound: it cannot be used as a sound"),
        (
            "image",
            {"images": {"image_0": torch.ones(0, 8, 8, 3)}},
            r"image_0 is empty, of shape \[0, 8, 8, 3\]: connect",
        ),
        ("image", {"images": {"image_0": noise(1, 8, 8, 3) * torch.nan}}, "the image holds NaN or infinity"),
    ],
)
def test_wires_that_are_not_what_the_document_says(folder, kind, wired, message):
    media = {"it": {"kind": kind, "input": "image_0"}, "a": {"kind": "image", "file": "a.png"}}
    picture_file(folder / "a.png", (8, 8))
    uses = {
        "image": {"placements": [{"media": "it"}]},
        "mask": {"placements": [{"media": "a", "alpha": "it"}]},
        "sound": {"sounds": [{"media": "it", "time": 0, "start": 0, "duration": 0.1}]},
    }
    with pytest.raises(CanvasError, match=f'^media (it|"it").*{message}'):
        run(text_of(media, **uses[kind]), **wired)


def test_batch_of_sounds_is_refused():
    media = {"a": {"kind": "sound", "input": "sound_0"}}
    text = text_of(media, (), [{"media": "a", "time": 0, "start": 0, "duration": 0.1}])
    with pytest.raises(CanvasError, match="sound_0 is a batch of 2 sounds: connect one"):
        run(text, sounds={"sound_0": {"waveform": noise(2, 1, 9999), "sample_rate": 44100}})


# --- what is wrong with files


def validated(text):
    return asyncio.run(SkyCanvasEditor.validate_inputs(text))


@pytest.mark.parametrize(
    "media, message",
    [
        ({"file": "gone.png"}, 'media "it": gone.png is not in ComfyUI\'s input folder: put it there'),
        ({"file": "a.txt"}, 'media "it": a.txt is no picture, video or sound that can be read: use PNG'),
        ({"file": "a.wav"}, 'media "it": a.wav is a sound: it cannot be used as a picture'),
        (
            {"file": "a.png", "width": 9, "height": 8},
            r"\(from a.png\): width was 9 and is 8 now: the file has changed; put",
        ),
        ({"file": "out.png"}, "out.png leads out of ComfyUI's input folder"),
        ({"width": 8, "height": 8}, 'media "it".*: it names no file and no input, so it cannot be loaded: put it on'),
    ],
)
def test_files_that_are_not_what_the_document_says(folder, media, message):
    """Before anything runs, and when it runs."""
    picture_file(folder / "a.png", (8, 8))
    sound_file(folder / "a.wav", ramp(99))
    (folder / "a.txt").write_text("hello")
    (folder / "out.png").symlink_to("/etc/hostname")
    text = text_of({"it": {"kind": "image", **media}}, [{"media": "it"}])
    with pytest.raises(CanvasError, match=message) as error:
        run(text)
    assert validated(text) == str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format":"other"}', EMPTY.replace("17", "true")])
def test_text_that_is_no_canvas(text):
    with pytest.raises(CanvasError) as error:
        run(text)
    assert validated(text) == str(error.value) != ""


def test_what_is_right_is_validated_without_the_wires(folder):
    picture_file(folder / "a.png")
    media = {"a": {"kind": "image", "file": "a.png"}, "b": {"kind": "image", "input": "image_0"}}
    assert validated(text_of(media, [{"media": "a"}, {"media": "b"}])) is True
    assert asyncio.run(SkyCanvasEditor.validate_inputs()) is True  # the text comes through a wire
    media["gone"] = {"kind": "image", "file": "gone.png"}  # nothing shows it
    assert validated(text_of(media, [{"media": "a"}])) is True


def test_more_than_the_memory_holds_is_refused_before_it_is_read(folder, monkeypatch):
    clip_file(folder / "a.mkv", 30)
    monkeypatch.setattr(Clip, "read", None)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device: 17 * 16 * 16 * 3 * 4 - 1)
    text = text_of({"a": {"kind": "clip", "file": "a.mkv"}}, [{"media": "a", "frames": 17}])
    message = (
        "takes 0.0 GiB of memory, 0.0 GiB are free; the largest is a clip of 16x16 pixels and 17 frames: show fewer"
    )
    with pytest.raises(CanvasError, match=message):
        run(text)


# --- when it runs again


def test_fingerprint(folder):
    picture_file(folder / "a.png")
    picture_file(folder / "b.png")
    text = text_of({"a": {"kind": "image", "file": "a.png"}, "b": {"kind": "image", "file": "b.png"}}, [{"media": "a"}])
    first, unknown = SkyCanvasEditor.fingerprint_inputs(text), SkyCanvasEditor.fingerprint_inputs(None)
    picture_file(folder / "b.png", (3, 3))  # nothing shows it
    assert SkyCanvasEditor.fingerprint_inputs(text) == first and len(first) == 1
    assert SkyCanvasEditor.fingerprint_inputs(None) != unknown  # the text may be about any file
    picture_file(folder / "a.png", (3, 3))
    second = SkyCanvasEditor.fingerprint_inputs(text)
    (folder / "a.png").unlink()
    third = SkyCanvasEditor.fingerprint_inputs(text)
    assert len({str(first), str(second), str(third)}) == 3
    assert SkyCanvasEditor.fingerprint_inputs("{") is None
