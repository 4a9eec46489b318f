"""Files of the input folder: which ones are found, what is said of them, and that exactly what is asked for is read."""

import os
import struct
import zlib

import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl
from media_files import clip_file, frame_of, picture_file, ramp, sound_file
from PIL import Image
from skycanvas.canvas.document import CanvasError
from skycanvas.nodes import files
from skycanvas.nodes.files import Clip, MediaError, MissingError, TooLargeError, find, fingerprint, look, media_names

import nodes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """ComfyUI's input folder, empty."""
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path / "input"))
    (tmp_path / "input").mkdir()
    return tmp_path / "input"


def numbers(pictures: torch.Tensor) -> list[int]:
    """Which frames of a `clip_file` they are."""
    return [frame_of(255 * picture[4, 4]) for picture in pictures]


# --- names


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "a/../../a.png", "c:a.png", "a\\b.png", "", ".. /a.png"])
def test_names_lead_nowhere_else(folder, name):
    (folder.parent / "a.png").write_bytes(b"secret")
    with pytest.raises(CanvasError, match="use (the name of a file inside ComfyUI's input folder|1 or more char)"):
        find(name)


def test_links_may_lead_within_the_folder_only(folder):
    picture_file(folder.parent / "outside.png")
    picture_file(folder / "inside.png")
    (folder / "sub").mkdir()
    for link, target in (("out.png", folder.parent / "outside.png"), ("sub/in.png", folder / "inside.png")):
        (folder / link).symlink_to(target)
    (folder / "far").symlink_to(folder.parent)
    for name in ("out.png", "far/outside.png"):
        with pytest.raises(MediaError, match=f"^{name} leads out of ComfyUI's input folder: put the file itself there"):
            find(name)
        assert fingerprint(name) is None
    assert find("sub/in.png") == os.path.realpath(folder / "inside.png")


@pytest.mark.parametrize("name", ["none.png", "sub", "pipe.png", "a.png [output]", "x" * 250])
def test_what_is_no_file(folder, name):
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe.png")  # opening it would wait for ever
    with pytest.raises(MissingError, match="is not in ComfyUI's input folder: put it there, or choose another file"):
        look(name)


def test_names_of_all_media(folder, monkeypatch):
    picture_file(folder.parent / "outside.png")
    for name in ("b.png", "a/c.mkv", "a/deep er/e.wav", "text.txt", ".hidden/h.png", ".h.png", "skycanvas/mask_1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    (folder / "out.png").symlink_to(folder.parent / "outside.png")
    (folder / "in.png").symlink_to(folder / "b.png")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "a\\b.png").write_bytes(b"")  # no name that a canvas takes
    assert media_names() == (["a/c.mkv", "a/deep er/e.wav", "b.png", "in.png"], False)
    monkeypatch.setattr(files, "MOST_LISTED", 3)
    assert media_names() == (["a/c.mkv", "b.png", "in.png"], True)
    monkeypatch.setattr(files, "MOST_ENTRIES", 4)
    names, cut = media_names()
    assert cut and len(names) <= 3


def test_listing_can_be_stopped(folder):
    picture_file(folder / "a.png")

    def stop():
        raise KeyError

    with pytest.raises(KeyError):
        media_names(stop)


def test_fingerprint_changes_with_the_file(folder):
    path = picture_file(folder / "a.png")
    first = fingerprint("a.png")
    assert first == fingerprint("a.png") and first[0] == "a.png"
    os.utime(path, ns=(0, first[2] + 1))
    assert fingerprint("a.png") != first


# --- pictures


@pytest.mark.parametrize("mode, alpha", [("RGB", False), ("RGBA", True), ("L", False), ("LA", True)])
def test_picture(folder, mode, alpha):
    picture_file(folder / "a.png", (12, 8), mode)
    source = look("a.png")
    assert (source.width, source.height, source.alpha) == (12, 8, alpha)
    expected = Image.open(folder / "a.png").convert("RGBA")
    values = torch.from_numpy(np.array(expected)).float() / 255
    pixels, rate = source.read("image", 0, 1)
    assert rate is None and torch.equal(pixels, values[None, ..., :3])
    mask, _ = source.read("mask", 0, 1)
    luminance = (values[..., :3] * torch.tensor(files.LUMINANCE)).sum(-1)
    torch.testing.assert_close(mask[0], values[..., 3] if alpha else luminance)


def test_palette_with_a_transparent_colour(folder):
    image = Image.new("P", (4, 2))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1, 0, 1, 0, 0, 1, 1])
    image.save(folder / "a.png", transparency=1)
    source = look("a.png")
    assert source.alpha and source.read("mask", 0, 1)[0][0].tolist() == [[1, 0, 1, 0], [1, 1, 0, 0]]


def test_sixteen_bits(folder):
    values = np.linspace(0, 65535, 32, dtype=np.uint16).reshape(4, 8)
    Image.fromarray(values).save(folder / "a.png")
    pixels, _ = look("a.png").read("image", 0, 1)
    assert np.allclose(pixels[0, ..., 1], values / 65535, atol=1e-6)
    assert np.array_equal(look("a.png").image().getchannel(0), (values / 65535 * 255).round())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_is_turned_as_load_image_turns_it(folder, orientation):
    gradient = np.zeros((8, 24, 3), dtype=np.uint8)
    gradient[..., 0], gradient[..., 1] = np.linspace(0, 255, 24), np.linspace(0, 255, 8)[:, None]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient).save(folder / "a.jpg", exif=exif, quality=95, subsampling=0)
    source = look("a.jpg")
    pixels, _ = source.read("image", 0, 1)
    assert pixels.shape == (1, source.height, source.width, 3)
    expected = Image.open(folder / "a.jpg")
    steps = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    steps |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
    if orientation > 1:
        expected = expected.transpose(Image.Transpose[steps[orientation]])
    assert np.array_equal((pixels[0] * 255).round().byte().numpy(), np.array(expected))
    if orientation in (1, 3, 6, 8):  # 'Load Image' does not mirror
        loaded, _ = nodes.LoadImage().load_image("a.jpg")
        torch.testing.assert_close(pixels, loaded.float(), rtol=0, atol=0.02)  # another decoder


@pytest.mark.parametrize("kind", ["clip", "sound"])
def test_picture_is_nothing_else(folder, kind):
    picture_file(folder / "a.png")
    with pytest.raises(MediaError, match=f"a.png is a picture: it cannot be used as a {kind}; choose another one"):
        look("a.png").media(kind)


def test_too_many_pixels_are_refused_before_they_are_decoded(folder, monkeypatch):
    picture_file(folder / "a.png", (12, 8))
    clip_file(folder / "a.mkv", 2)
    picture_file(folder / "late.png", (4, 4))
    late = look("late.png")
    monkeypatch.setattr(files, "MOST_PIXELS", 90)
    files._look.cache_clear()
    for name, size in (("a.png", "12 x 8"), ("a.mkv", "16 x 16")):
        with pytest.raises(TooLargeError, match=f"{name} is {size} pixels: use at most 16384 along a side, and 90 in"):
            look(name)
    picture_file(folder / "late.png", (12, 8))  # changed since
    with pytest.raises(TooLargeError, match="late.png is 12 x 8 pixels"):
        late.read("image", 0, 1)


def test_decompression_bomb(folder):
    """A PNG of a few bytes that says it has 4 billion pixels."""
    picture_file(folder / "a.png")
    content = bytearray((folder / "a.png").read_bytes())
    content[16:24] = struct.pack(">II", 65535, 65535)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (folder / "a.png").write_bytes(content)
    with pytest.raises(TooLargeError, match="a.png (has too many|is 65535 x 65535) pixels"):
        look("a.png")


def test_animated_webp_is_refused(folder):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(MediaError, match="a.webp is an animated WebP, which cannot be read: write it as GIF or MP4"):
        look("a.webp")


def test_broken_picture(folder):
    path = picture_file(folder / "a.png", (64, 64))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(MediaError, match="a.png cannot be read: the file is damaged .*; write it again in another"):
        look("a.png").read("image", 0, 1)


# --- clips


@pytest.mark.parametrize(
    "name, options",
    [
        ("a.mkv", {}),  # does not say how many frames it has
        ("a.mov", {"codec": "png", "pixels": "rgb24"}),
        ("a.gif", {"codec": "gif", "pixels": "rgb8", "rate": 10}),
    ],
)
def test_clip(folder, name, options):
    clip_file(folder / name, 30, (32, 16), **options)
    facts = look(name).media("clip")
    rate = options.get("rate", 16)
    assert (facts.width, facts.height, facts.frames, facts.fps) == (32, 16, 30, rate)
    pixels, fps = look(name).read("clip", 5, 25)
    assert fps == rate and pixels.shape == (20, 16, 32, 3)
    if name != "a.gif":
        assert numbers(pixels) == list(range(5, 25))
    mask, _ = look(name).read("mask", 5, 25)
    luminance = torch.ones_like(mask) if look(name).alpha else (pixels * torch.tensor(files.LUMINANCE)).sum(-1)
    torch.testing.assert_close(mask, luminance, rtol=0, atol=1e-5)


def test_frames_are_those_of_get_video_components(folder):
    """Of what is compressed as well."""
    clip_file(folder / "a.mp4", 60, (48, 32), codec="h264", pixels="yuv420p", g="12")
    expected = InputImpl.VideoFromFile(str(folder / "a.mp4")).get_components().images
    source = look("a.mp4")
    assert source.frames == 60
    for begin, end in ((0, 60), (7, 9), (59, 60)):
        assert torch.equal(source.read("clip", begin, end)[0], expected[begin:end].clamp(0, 1))


def test_far_frames_are_jumped_to(folder, monkeypatch):
    clip_file(folder / "a.mp4", 190, (16, 16), codec="h264", pixels="yuv420p", g="10", bf="2")
    source = look("a.mp4")
    whole = source.read("clip", 0, 190)[0]
    monkeypatch.setattr(files, "NEAR", 1.0)
    decoded = 0

    def check():
        nonlocal decoded
        decoded += 1

    assert torch.equal(source.read("clip", 150, 153, check)[0], whole[150:153]) and decoded < 40
    wanted, decoded = [0, 0, 3, 90, 91, 189], 0
    shown = [to_image(frame) for frame, to_image in source.pictures(wanted, check)]
    assert torch.equal(torch.stack(shown).clamp(0, 1), whole[wanted]) and decoded < 100


def test_pictures_that_do_not_come_evenly_are_shown_at_their_time(folder):
    clip_file(folder / "a.mkv", 4, times=[0, 100, 1000, 1100])
    source = look("a.mkv")
    assert source.frames == 19
    assert numbers(source.read("clip", 0, 19)[0]) == [0, 0, *[1] * 14, 2, 2, 3]


def test_turned_clip(folder):
    path = clip_file(folder / "a.mp4", 3, (32, 16), codec="h264", pixels="yuv420p")
    content = path.read_bytes()
    matrix = content.index(b"tkhd") + 4 + 40
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 16 << 16, 0, 1 << 30)
    path.write_bytes(content[:matrix] + turned + content[matrix + 36 :])
    source = look("a.mp4")
    assert (source.width, source.height) == (16, 32) and source.read("clip", 0, 3)[0].shape == (3, 32, 16, 3)


def test_clip_that_ends_early(folder, monkeypatch):
    path = clip_file(folder / "a.mkv", 60)
    source = look("a.mkv")
    clip_file(path, 57)  # up to MISSING, the last picture stays
    assert numbers(source.read("clip", 55, 60)[0]) == [55, 56, 56, 56, 56]
    clip_file(path, 20)
    with pytest.raises(MediaError, match="a.mkv ends after 1.25 s, its header says 3.75 s: the file is damaged"):
        source.read("clip", 0, 60)


def test_clip_that_changes_its_size(folder):
    for name, size in (("a.ts", (32, 16)), ("b.ts", (64, 48))):
        clip_file(folder / name, 17, size, codec="h264", pixels="yuv420p")
    (folder / "c.ts").write_bytes((folder / "a.ts").read_bytes() + (folder / "b.ts").read_bytes())
    source = look("c.ts")
    with pytest.raises(MediaError, match="c.ts changes to 64 x 48 pixels after .* s: cut it there"):
        source.read("clip", 0, source.frames)


def test_broken_clip(folder):
    path = clip_file(folder / "a.mov", 17, codec="png", pixels="rgb24")
    pictures = path.read_bytes().split(b"\x89PNG")
    pictures[4] = bytes(len(pictures[4]))
    path.write_bytes(b"\x89PNG".join(pictures))
    with pytest.raises(MediaError, match="a.mov cannot be read: the file is damaged"):
        look("a.mov").read("clip", 0, 17)


class Stop(Exception):
    pass


def test_reading_can_be_stopped(folder):
    clip_file(folder / "a.mkv", 30)
    calls = []

    def check():
        calls.append(0)
        if len(calls) == 3:
            raise Stop

    with pytest.raises(Stop):
        look("a.mkv").read("clip", 0, 30, check)
    assert len(calls) == 3


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.txt", b"hello"),
        ("empty.mp4", b""),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nclip.ts\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile clip.ts\n"),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='clip.ts'/></svg>"),
    ],
)
def test_what_is_no_media(folder, name, content):
    """Playlists among it, which name other files."""
    clip_file(folder / "clip.ts", 3, codec="h264", pixels="yuv420p")
    (folder / name).write_bytes(content)
    with pytest.raises(MediaError, match=f"^{name} is no picture, video or sound that can be read: use PNG, "):
        look(name)


def test_a_large_file_is_not_gone_through(folder, monkeypatch):
    clip_file(folder / "a.mkv", 170, sound=ramp(44100 * 10))
    monkeypatch.setattr(files, "MOST_COUNTED", 1000)
    files._look.cache_clear()
    source = look("a.mkv")  # by the header alone: it knows the length of the longer stream
    assert source.frames == pytest.approx(170, abs=1) and source.sound.samples == pytest.approx(
        44100 * 10.625, abs=4410
    )


# --- sounds


@pytest.mark.parametrize("name, codec", [("a.wav", "pcm_s16le"), ("a.flac", "flac")])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_sound(folder, name, codec, channels):
    waveform = ramp(30000, channels)
    sound_file(folder / name, waveform, codec, 22050)
    facts = look(name).media("sound")
    assert (facts.samples, facts.sample_rate, facts.channels) == (30000, 22050, channels)
    piece, rate = look(name).read("sound", 1234, 23456)
    assert rate == 22050 and torch.equal(piece, waveform[:, 1234:23456])


@pytest.mark.parametrize("name, codec", [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.aac", "aac")])
def test_compressed_sound_is_as_long_as_it_says(folder, name, codec):
    sound_file(folder / name, 0.5 * torch.sin(torch.arange(88200) / 20)[None].expand(2, -1), codec)
    source = look(name)
    assert source.sound.samples == pytest.approx(88200, abs=4000)
    whole, _ = source.read("sound", 0, source.sound.samples)
    assert whole.shape == (2, source.sound.samples) and whole[:, 4000:80000].abs().max() > 0.45
    assert torch.equal(source.read("sound", 30000, 40000)[0], whole[:, 30000:40000])


def test_sound_of_a_clip_begins_with_its_pictures(folder):
    waveform = ramp(44100 * 2, 2)
    clip_file(folder / "a.mkv", 32, sound=waveform)
    source = look("a.mkv")
    assert source.media("sound").samples == 88200
    assert torch.equal(source.read("sound", 50, 70000)[0], waveform[:, 50:70000])


def test_far_sounds_are_jumped_to(folder, monkeypatch):
    waveform = ramp(44100 * 8)
    clip_file(folder / "a.mov", 128, codec="png", pixels="rgb24", sound=None)
    sound_file(folder / "a.wav", waveform)
    monkeypatch.setattr(files, "NEAR", 1.0)
    pieces = []
    piece, _ = look("a.wav").read("sound", 44100 * 6, 44100 * 7, lambda: pieces.append(0))
    assert torch.equal(piece, waveform[:, 44100 * 6 : 44100 * 7]) and len(pieces) < 200


def test_sound_is_nothing_else_and_a_clip_may_have_none(folder):
    sound_file(folder / "a.wav", ramp(1000))
    clip_file(folder / "a.mkv", 3)
    for kind, word in (("image", "a picture"), ("clip", "a clip"), ("mask", "a mask")):
        with pytest.raises(MediaError, match=f"a.wav is a sound: it cannot be used as {word}"):
            look("a.wav").media(kind)
    with pytest.raises(MediaError, match="a.mkv has no sound: it cannot be used as a sound; choose another one"):
        look("a.mkv").media("sound")
    with pytest.raises(MediaError, match="a.mkv is a clip: it cannot be used as a picture"):
        look("a.mkv").media("image")


def test_too_long_a_sound(folder, monkeypatch):
    sound_file(folder / "a.wav", ramp(30000))
    monkeypatch.setattr(files, "MOST_SECONDS", 0.5)
    with pytest.raises(TooLargeError, match="a.wav: 1 s of it are used; use at most 0.5 s"):
        look("a.wav").read("sound", 0, 30000)
    assert look("a.wav").read("sound", 0, 22050)[0].shape == (1, 22050)


def test_sound_that_ends_early(folder):
    path = sound_file(folder / "a.wav", ramp(88200))
    source = look("a.wav")
    sound_file(path, ramp(80000))
    waveform, _ = source.read("sound", 0, 88200)
    assert torch.equal(waveform[:, :80000], ramp(80000)) and not waveform[:, 80000:].any()
    sound_file(path, ramp(44100))
    with pytest.raises(MediaError, match="a.wav has 1.00 s less of sound than its header says: the file is damaged"):
        source.read("sound", 0, 88200)


def test_part_of_a_clip(folder):
    """As 'Trim Video' cuts it."""
    path = clip_file(folder / "a.mkv", 48, sound=ramp(44100 * 3))
    part = Clip("video_0", lambda: str(path), 0, 0.5, 1.0)
    assert (part.frames, part.sound.samples) == (16, 44100)
    assert numbers(part.read("clip", 0, 16)[0]) == list(range(8, 24))
    assert torch.equal(part.read("sound", 0, 44100)[0], ramp(44100 * 3)[:, 22050 : 22050 + 44100])
