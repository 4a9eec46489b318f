"""Curation of real files: small videos that PyAV writes, good ones and broken ones, from the folder to the manifest."""

import json
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.curation import media, sync
from training.curation.__main__ import main
from training.curation.filters import Rules
from training.curation.manifest import Entry, Manifest, ManifestError, read_clip
from training.curation.media import MediaError, probe, read_frames, read_sound
from training.curation.pipeline import curate
from training.curation.shots import read_shots
from training.toybox import SAMPLE_RATE, sample_scenes

RATE = 48_000
EFFECT = "a ball bounces <sfx> ping </sfx>"


def write(
    path: Path,
    pictures: Tensor,
    *,
    fps: int = 16,
    sound: Tensor | None = None,
    sample_rate: int = RATE,
    codecs: tuple[str, str] = ("libx264", "aac"),
    caption: str | None = None,
    **options: str,
) -> None:
    """pictures: uint8 [F, H, W, 3]; sound: [S] in [-1, 1]."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "café"
        video = container.add_stream(codecs[0], rate=fps, options=options)
        video.height, video.width = pictures.shape[1:3]
        video.pix_fmt = "yuv420p"
        if sound is not None:
            audio = container.add_stream(codecs[1], rate=sample_rate, layout="mono")
            audio.bit_rate = 128_000
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(video.encode())
        if sound is not None:
            samples = (sound.clamp(-1, 1) * 32767).short()[None].numpy()
            for start in range(0, samples.shape[1], 1024):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(samples[:, start : start + 1024]), format="s16", layout="mono"
                )
                frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")


def toy(seed: int, *, frames: int = 40, **fixed: str) -> tuple[Tensor, Tensor]:
    """A clip of the toybox: pictures uint8 [F, 64, 64, 3], sound [S] at 44.1 kHz."""
    scenes = sample_scenes(1, frames=frames, generator=torch.Generator().manual_seed(seed), **fixed)
    pictures = ((scenes.render()[0].movedim(0, -1) + 1) * 127.5).round().byte()
    return pictures, scenes.sound()[0, 0, : frames * SAMPLE_RATE // 16]


def tick(seconds: float, at: float) -> Tensor:
    """A short burst in silence, at 48 kHz."""
    sound = torch.zeros(round(seconds * RATE))
    sound[round(at * RATE) : round(at * RATE) + 200] = 0.8
    return sound


def flash(frames: int, at: int) -> Tensor:
    pictures = torch.full((frames, 64, 64, 3), 40, dtype=torch.uint8)
    pictures[at] = 220
    return pictures


# Reading


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("a.mp4", ("libx264", "aac")),
        ("a.mkv", ("ffv1", "libopus")),
        ("a.mov", ("mpeg4", "pcm_s16le")),
    ],
)
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_sound_and_picture_are_read_from_the_same_moment(tmp_path, name, codecs, start):
    write(tmp_path / name, flash(75, 50), fps=25, sound=tick(3.0, 2.0), codecs=codecs)
    entry = Entry(name, start, 3 - start, "")
    video, sound = read_clip(tmp_path, entry, frames=32, fps=16, size=(32, 32), sample_rate=44_100)
    assert video.shape == (3, 32, 32, 32) and sound.shape == (1, 88_200)
    assert video.abs().max() <= 1 and sound.abs().max() <= 1
    if start:
        assert int(video.mean((0, 2, 3)).argmax()) == 16
        onset = int((sound[0].abs() > 0.3).nonzero()[0]) / 44_100
        assert onset == pytest.approx(1.0, abs=0.01)
    else:
        assert video.mean((0, 2, 3)).max() < -0.5 and sound.abs().max() < 0.05


def test_every_start_gives_the_same_frames_as_the_whole_file(tmp_path):
    pictures, _ = toy(1, frames=60)
    write(tmp_path / "a.mp4", pictures, g="12", bf="2")
    whole = [(frame.time, frame.pixels((64, 64))) for frame in read_frames(tmp_path / "a.mp4")]
    assert len(whole) == 60
    for first in (1, 11, 13, 37, 59):
        part = list(read_frames(tmp_path / "a.mp4", whole[first][0]))
        assert [frame.time for frame in part] == [time for time, _ in whole[first:]]
        assert torch.equal(part[0].pixels((64, 64)), whole[first][1])


def test_frames_are_the_nearest_in_time_and_stay_inside_the_entry(tmp_path):
    """Each picture's brightness is its number: 25 frames per second read at 10, and at 50."""
    pictures = (torch.arange(50)[:, None, None, None] * 5).expand(-1, 64, 64, 3).byte()
    write(tmp_path / "a.mkv", pictures, fps=25, codecs=("ffv1", "aac"))

    def numbers(entry: Entry, frames: int, fps: float) -> list[int]:
        video, _ = read_clip(tmp_path, entry, frames=frames, fps=fps, size=(16, 16), sample_rate=8000)
        return [round(float(level + 1) * 127.5 / 5) for level in video.mean((0, 2, 3))]

    assert numbers(Entry("a.mkv", 0.0, 2.0, ""), 5, 6.25) == [0, 4, 8, 12, 16]
    assert numbers(Entry("a.mkv", 0.0, 2.0, ""), 5, 15) == [0, 2, 3, 5, 7]  # wanted: 0, 1.67, 3.33, 5, 6.67
    assert numbers(Entry("a.mkv", 0.4, 1.0, ""), 4, 12.5) == [10, 12, 14, 16]
    assert numbers(Entry("a.mkv", 0.4, 0.2, ""), 10, 50)[-1] == 14  # 15 belongs to the next shot


def test_pictures_are_cropped_not_stretched(tmp_path):
    pictures = torch.full((4, 64, 128, 3), 20, dtype=torch.uint8)
    pictures[:, :, 32:96] = 200  # the middle
    write(tmp_path / "a.mkv", pictures, codecs=("ffv1", "aac"))
    video, sound = read_clip(tmp_path, Entry("a.mkv", 0.0, 0.25, ""), frames=4, fps=16, size=(32, 32), sample_rate=8000)
    assert video[..., 2:-2].min() > 0.4
    assert torch.equal(sound, torch.zeros(1, 2000))
    video, _ = read_clip(tmp_path, Entry("a.mkv", 0.0, 0.25, ""), frames=4, fps=16, size=(64, 32), sample_rate=8000)
    assert video[..., :12].max() < -0.6 and video[..., 24:40].min() > 0.4


def test_an_entry_that_is_too_short_or_gone_is_named(tmp_path):
    write(tmp_path / "a.mp4", flash(16, 3))
    read = {"fps": 16, "size": (16, 16), "sample_rate": 8000}
    with pytest.raises(ManifestError, match=r"a.mp4 lasts 1.00 s .* 33 frames at 16 per second need 2.06 s"):
        read_clip(tmp_path, Entry("a.mp4", 0.0, 1.0, ""), frames=33, **read)
    with pytest.raises(MediaError, match="a.mp4 has no pictures at 1.94 s"):
        read_clip(tmp_path, Entry("a.mp4", 0.0, 2.0, ""), frames=32, **read)
    with pytest.raises(MediaError, match=r"b.mp4 cannot be read \(No such file"):
        read_clip(tmp_path, Entry("b.mp4", 0.0, 2.0, ""), frames=16, **read)
    with pytest.raises(ManifestError, match="positive"):
        read_clip(tmp_path, Entry("a.mp4", 0.0, 2.0, ""), frames=0, **read)


def test_what_is_too_large_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    write(tmp_path / "a.mp4", flash(16, 3), sound=tick(1, 0.5), sample_rate=RATE)
    for limit, value, words in (
        ("MAX_BYTES", 100, "bytes"),
        ("MAX_SECONDS", 0.5, "lasts"),
        ("MAX_SIDE", 32, "64 x 64"),
        ("MAX_RATE", 10, "16 frames per second"),
        ("SAMPLE_RATES", (44_100,), "48000 Hz"),
    ):
        with monkeypatch.context() as patch, pytest.raises(MediaError, match=words):
            patch.setattr(media, limit, value)
            probe(tmp_path / "a.mp4")


def test_a_playlist_in_disguise_opens_no_other_file(tmp_path):
    write(tmp_path / "a.mp4", flash(16, 3))
    (tmp_path / "b.mp4").write_text("ffconcat version 1.0\nfile 'a.mp4'\n")
    (tmp_path / "c.mp4").write_text("#EXTM3U\n#EXTINF:1,\na.mp4\n")
    for name in ("b.mp4", "c.mp4"):
        with pytest.raises(MediaError, match="cannot be read"):
            probe(tmp_path / name)


def test_a_title_in_another_encoding_does_no_harm(tmp_path):
    write(tmp_path / "a.mp4", flash(16, 3))
    content = (tmp_path / "a.mp4").read_bytes()
    assert b"caf\xc3\xa9" in content
    (tmp_path / "a.mp4").write_bytes(content.replace(b"caf\xc3\xa9", b"caf\xe9\xe9"))
    assert probe(tmp_path / "a.mp4").fps == 16


def test_a_file_that_breaks_off_is_used_until_there(tmp_path):
    pictures, _ = toy(1, frames=120)
    write(tmp_path / "a.mkv", pictures, codecs=("mpeg4", "aac"), g="8")
    content = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: int(len(content) * 0.7)])
    manifest = curate(tmp_path, Rules(most_seconds=2), report=None)
    assert [entry.start for entry in manifest.kept] == pytest.approx([0.0, 2.0, 4.0], abs=1e-3)
    assert 1 < manifest.kept[-1].duration < 1.7


def test_sound_is_resampled_and_padded_to_the_sample(tmp_path):
    tone = torch.sin(torch.arange(RATE) * (2 * np.pi * 440 / RATE)) * 0.5
    write(tmp_path / "a.mov", flash(32, 3), sound=tone, codecs=("mpeg4", "pcm_s16le"))
    sound = read_sound(tmp_path / "a.mov", 0.0, 2.0, 44_100)
    assert sound.shape == (1, 88_200) and not sound[:, 45_000:].any()
    expected = torch.sin(torch.arange(20_000) * (2 * np.pi * 440 / 44_100)) * 0.5
    assert (sound[0, 1000:20_000] - expected[1000:]).abs().max() < 5e-3


# Shots


def test_a_file_is_cut_at_its_cuts_and_nowhere_else(tmp_path):
    parts = [toy(1, background="navy")[0], toy(2, background="gray")[0], toy(3, background="black")[0]]
    parts[2][20] = 255  # a flash
    write(tmp_path / "a.mp4", torch.cat(parts))
    shots = list(read_shots(tmp_path / "a.mp4", most_seconds=15))
    assert [shot.start for shot in shots] == pytest.approx([0.0, 2.5, 5.0], abs=1e-3)
    assert [shot.duration for shot in shots] == pytest.approx([2.5, 2.5, 2.5], abs=1e-3)
    assert [len(shot.luma) for shot in shots] == [40, 40, 40] and shots[0].fps == pytest.approx(16)
    whole = list(read_shots(tmp_path / "a.mp4", most_seconds=15, split=False))
    assert [len(shot.luma) for shot in whole] == [120]


def test_a_pan_is_no_cut_and_long_takes_become_chunks(tmp_path):
    wide = F.interpolate(torch.rand(1, 3, 8, 70, generator=torch.Generator().manual_seed(0)) * 255, scale_factor=8)[0]
    pan = torch.stack([wide[:, :, 8 * t : 8 * t + 64] for t in range(60)]).movedim(1, -1).byte()
    write(tmp_path / "a.mp4", pan)
    shots = list(read_shots(tmp_path / "a.mp4", most_seconds=1.5))
    assert [(round(shot.start, 2), len(shot.luma)) for shot in shots] == [(0.0, 24), (1.5, 24), (3.0, 12)]


def test_large_pictures_are_measured_small(tmp_path):
    write(tmp_path / "a.mp4", torch.zeros(20, 400, 600, 3, dtype=torch.uint8))
    [shot] = read_shots(tmp_path / "a.mp4", most_seconds=15)
    assert shot.luma.shape == (20, 256, 384) and shot.size == (600, 400)


# The folder


def make_folder(folder: Path) -> dict[str, str]:
    """Fills a folder -> file, the words of the reason for which it is dropped ('' if it is kept)."""
    expected = {}
    (folder / "copies").mkdir()

    def clip(name: str, seed: int, reason: str, change=lambda pictures: pictures, sound=None, **options) -> None:
        pictures, own = toy(seed)
        options = {"caption": EFFECT, "crf": "16", **options}
        write(
            folder / name,
            change(pictures),
            sound=own if sound is None else sound(own),
            sample_rate=SAMPLE_RATE,
            **options,
        )
        expected[name] = reason

    def blurred(pictures: Tensor) -> Tensor:
        film = F.pad(pictures.float().movedim(-1, 1), (6, 6, 6, 6), mode="replicate")
        return F.avg_pool2d(film, 13, 1).movedim(1, -1).byte()

    def hiss(own: Tensor) -> Tensor:
        return 0.1 * torch.randn(len(own), generator=torch.Generator().manual_seed(0))

    def pause(own: Tensor) -> Tensor:
        return hiss(own) * (torch.arange(len(own)) < 22_050)

    def scaled(pictures: Tensor) -> Tensor:
        return F.interpolate(pictures.movedim(-1, 1).float(), size=(80, 80), mode="bilinear").movedim(1, -1).byte()

    speech = "two talk <dialogue> hello </dialogue>"
    clip("good.mp4", 1, "")
    clip("good too.mp4", 2, "", caption="一个球 <sfx> ping </sfx>")
    clip("blurred.mp4", 3, "sharpness", blurred)
    clip("frozen.mp4", 4, "repeated frames", lambda x: x[:1].expand_as(x))
    clip("dropped frames.mp4", 5, "repeated frames", lambda x: x[::2].repeat_interleave(2, 0))
    clip("short.mp4", 6, "duration 0.62 s, at least 1", lambda x: x[:10])
    clip("noisy.mp4", 7, "signal-to-noise", sound=hiss, caption=speech)
    clip("clipped.mp4", 8, "clipping", sound=lambda own: own * 40)
    clip("sparse speech.mp4", 9, "silence ratio", sound=pause, caption=speech)
    clip("quiet.mp4", 10, "mean volume", sound=lambda own: own * 1e-3)
    clip("larger.mp4", 1, "", scaled)  # the copy to keep
    expected["good.mp4"] = "shows nearly what larger.mp4 at 0.00 s shows"
    clip("copies/re-encoded.avi", 1, "larger.mp4", codecs=("mpeg4", "mp3"), crf="0", b="200000")
    clip("copies/trimmed.mp4", 1, "larger.mp4", lambda x: x[5:])
    for suffix in ("mp4", "txt"):
        (folder / f"same too.{suffix}").write_bytes((folder / f"good too.{suffix}").read_bytes())
    expected["same too.mp4"] = "shows exactly what good too.mp4 at 0.00 s shows"
    (folder / "cut off.mp4").write_bytes((folder / "good.mp4").read_bytes()[:3000])
    expected["cut off.mp4"] = "cannot be read"
    (folder / "empty.mp4").write_bytes(b"")
    expected["empty.mp4"] = "cannot be read"
    return expected


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips")
    return path, make_folder(path)


@pytest.fixture(scope="module")
def manifest(folder):
    return curate(folder[0], report=None)


def test_a_folder_is_judged_and_every_fault_is_named(folder, manifest):
    path, expected = folder
    reasons = {entry.file: reason for entry, reason in manifest.dropped} | {entry.file: "" for entry in manifest.kept}
    assert reasons.keys() == expected.keys() and len(manifest.kept) + len(manifest.dropped) == len(expected)
    for name, words in expected.items():
        assert words in reasons[name] and bool(words) == bool(reasons[name]), (name, words, reasons[name])
    assert all(entry.caption == EFFECT or entry.caption.startswith("一个球") for entry in manifest.kept)
    assert all(entry.duration == pytest.approx(2.5, abs=1e-3) for entry in manifest.kept)
    assert sum(entry.weight for entry in manifest.kept) == pytest.approx(len(manifest.kept))


def test_what_is_kept_can_be_read_and_again_after_saving(folder, manifest, tmp_path):
    manifest.save(tmp_path / "manifest.json")
    again = Manifest.load(tmp_path / "manifest.json")
    assert again.kept == manifest.kept and again.dropped == manifest.dropped
    assert again.folder.resolve() == folder[0].resolve()
    for entry in again.kept:
        video, sound = read_clip(again.folder, entry, frames=33, fps=16, size=(64, 64), sample_rate=SAMPLE_RATE)
        seed = {"larger.mp4": 1, "good too.mp4": 2}[entry.file]
        pictures, own = toy(seed)
        assert (video - (pictures[:33].movedim(-1, 0) / 127.5 - 1)).abs().mean() < 0.05
        aligned = F.cosine_similarity(sound[0], own[: sound.shape[1]], dim=0)
        assert aligned > 0.95, "the sound is not where it was"


def test_the_folder_and_its_manifest_can_move_together(tmp_path):
    (tmp_path / "here").mkdir()
    write(tmp_path / "here" / "a.mp4", toy(1)[0], caption="a")
    curate(tmp_path / "here", report=None).save(tmp_path / "here" / "manifest.json")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Manifest.load(tmp_path / "there" / "manifest.json")
    assert (moved.folder / moved.kept[0].file).is_file()
    assert json.loads((tmp_path / "there" / "manifest.json").read_text())["folder"] == "."


@pytest.mark.parametrize("late", [0, 2, 5, 8])
def test_the_sync_filter_drops_clips_whose_sound_is_late(tmp_path, late):
    """By so many frames of 1/25 s, on six clips; no clip of which the network is unsure is kept."""
    for seed in range(20, 26):
        pictures, own = toy(seed, frames=48)
        own = F.pad(own, (round(late / 25 * SAMPLE_RATE), 0))[: len(own)]
        write(tmp_path / f"{seed}.mp4", pictures, sound=own, sample_rate=SAMPLE_RATE, caption=EFFECT, crf="16")
    manifest = curate(tmp_path, Rules(sync=True), report=None)
    offsets = [entry.measures["offset"] for entry in (*manifest.kept, *(entry for entry, _ in manifest.dropped))]
    assert sum(abs(offset - late) <= 1 for offset in offsets) >= 5
    if late <= 2:
        assert len(manifest.kept) >= 4
    else:
        assert len(manifest.kept) <= 1
        assert any(f"offset of the sound {late} frames, at most 3" in reason for _, reason in manifest.dropped)


def test_background_music_needs_no_sync(tmp_path):
    pictures, own = toy(20)
    write(tmp_path / "a.mp4", pictures, sound=own, sample_rate=SAMPLE_RATE, caption="x <bgm> piano </bgm>")
    manifest = curate(tmp_path, Rules(sync=True, most_silence=1, least_bandwidth=0, least_snr=-20), report=None)
    assert "offset" not in manifest.kept[0].measures


def test_captions_that_cannot_be_used_are_named(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.mp4", toy(1)[0])
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    (tmp_path / "b.txt").write_text("x" * 20_001)
    reasons = {entry.file: reason for entry, reason in curate(tmp_path, report=None).dropped}
    assert "a.txt cannot be read" in reasons["a.mp4"] and "UTF-8" in reasons["a.mp4"]
    assert "longer than 20000" in reasons["b.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows cannot have")
def test_a_name_that_not_every_system_can_have_is_named(tmp_path):
    write(tmp_path / "a.mp4", flash(20, 3))
    (tmp_path / "a.mp4").rename(tmp_path / "take\\1.mp4")
    [(entry, reason)] = curate(tmp_path, report=None).dropped
    assert entry.file == "take_1.mp4" and "rename it" in reason


def test_a_folder_without_videos_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="no videos"):
        curate(tmp_path)
    with pytest.raises(ValueError, match="no folder"):
        curate(tmp_path / "a.txt")


# The manifest


@pytest.mark.parametrize("file", ["../a.mp4", "/a.mp4", "a/../../b.mp4", "C:/a.mp4", "a\\b.mp4", "", "a\0.mp4", None])
def test_entries_stay_inside_the_folder(file):
    with pytest.raises(ManifestError, match="file"):
        Entry(file, 0.0, 1.0, "")


@pytest.mark.parametrize(
    "wrong",
    [{"start": -1.0}, {"start": float("nan")}, {"duration": 1e9}, {"weight": "1"}, {"weight": True}, {"caption": 3}]
    + [{"measures": {"x": "y"}}, {"measures": [1]}, {"caption": "x" * 20_001}],
)
def test_entries_refuse_what_is_no_measure(wrong):
    with pytest.raises(ManifestError, match=next(iter(wrong))):
        replace(Entry("a.mp4", 0.0, 1.0, ""), **wrong)


def row(**changes) -> dict:
    return {"file": "a.mp4", "start": 0.0, "duration": 1.0, "caption": ""} | changes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "no manifest"),
        ({"version": 2}, "version 2"),
        ({"kept": None}, "lacks folder"),
        ({"kept": ["a.mp4"]}, "does not have the fields"),
        ({"kept": [row(more=1)]}, "does not have the fields"),
        ({"kept": [row(file="../a.mp4")]}, "not a path inside"),
        ({"kept": [row(duration=0)]}, "duration of a.mp4 is 0"),
        ({"dropped": [row()]}, "reason None"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(tmp_path, change, words):
    path = tmp_path / "manifest.json"
    content = {"format": "skycanvas-manifest", "version": 1, "folder": ".", "kept": [row()], "dropped": []}
    path.write_text(json.dumps(content))
    assert Manifest.load(path).kept == (Entry("a.mp4", 0.0, 1.0, ""),)
    path.write_text(json.dumps(content | change))
    with pytest.raises(ManifestError, match=words):
        Manifest.load(path)


def test_a_manifest_that_is_no_json_or_too_large_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "manifest.json"
    path.write_bytes(b"\xff{")
    with pytest.raises(ManifestError, match="no JSON"):
        Manifest.load(path)
    monkeypatch.setattr("training.curation.manifest.MAX_BYTES", 1)
    with pytest.raises(ManifestError, match="at most 1"):
        Manifest.load(path)


# The commands


def test_the_command_prints_a_table_and_writes_the_manifest(tmp_path, capsys):
    pictures, own = toy(1)
    write(tmp_path / "a.mp4", pictures, sound=own, sample_rate=SAMPLE_RATE, caption=EFFECT)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    main([str(tmp_path), "--out", str(tmp_path / "m.json"), "--least-side", "32", "--no-split"])
    printed = capsys.readouterr()
    assert "1 clips kept (2 s), 1 dropped (0 s)" in printed.out and "b.mp4 cannot be read" in printed.out
    assert "a.mp4: 1 clips keep to the rules, 0 do not" in printed.err
    assert [entry.file for entry in Manifest.load(tmp_path / "m.json").kept] == ["a.mp4"]
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--least-seconds", "20"])
    assert "least_seconds 20 must be" in capsys.readouterr().err


def test_a_network_is_trained_on_own_clips(tmp_path):
    for seed in range(3):
        pictures, own = toy(seed, frames=48)
        write(tmp_path / f"{seed}.mp4", pictures, sound=own, sample_rate=SAMPLE_RATE)
    learnt, held_out = sync.folder_sources(tmp_path, 0)
    picture, sound = learnt(4, 59)
    assert picture.shape == (4, 59, 32, 32) and sound.shape == (4, 40, 236)
    assert sync.evaluate(sync.load(), held_out, clips=16, seed=0)["clips"] == 16
    (tmp_path / "0.mp4").unlink()
    (tmp_path / "1.mp4").write_bytes(b"broken")
    with pytest.raises(ValueError, match="has 1 files with sound"):
        sync.folder_sources(tmp_path, 0)
