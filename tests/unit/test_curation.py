"""What curation measures, on clips made to fail one rule each, and on clips that keep to all."""

import math
from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from training.curation import sync
from training.curation.balance import LARGEST, cluster, concepts, weights
from training.curation.dedup import appearance, digest, find_duplicates, fingerprint, similarity
from training.curation.filters import Rules, judge, kinds_of_sound
from training.curation.measures import measure_picture, measure_sound, snr
from training.curation.rendered import check_rendered
from training.toybox import SAMPLE_RATE, sample_scenes

RATE = 44_100
FPS = 25.0
SIZE = (64, 96)


def panning(frames: int = 50, *, seed: int = 0, speed: float = 3.0) -> torch.Tensor:
    """Luma [F, 64, 96] of a camera that pans along a random landscape, `speed` pixels a frame."""
    generator = torch.Generator().manual_seed(seed)
    height, width = SIZE
    length = width + int(speed * frames) + 2
    field = torch.full((1, 1, height, length), 120.0)
    for cells, amplitude in ((4, 50.0), (12, 30.0), (40, 15.0)):
        noise = torch.randn(1, 1, cells * height // 64 + 2, cells * length // 64 + 2, generator=generator)
        field += amplitude * F.interpolate(noise, size=(height, length), mode="bicubic")
    field = field.clamp(0, 255)[0, 0]
    return torch.stack([field[:, int(speed * t) : int(speed * t) + width] for t in range(frames)])


def speech(seconds: float = 2.0, *, seed: int = 0) -> torch.Tensor:
    """A sound [S] with a voice's harmonics and syllables."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * RATE)) / RATE
    syllables = 0.52 - 0.5 * torch.cos(2 * math.pi * 4 * time)
    phase = 2 * math.pi * (120 + 20 * torch.sin(2 * math.pi * 1.3 * time)).cumsum(0) / RATE
    voice = sum(torch.sin(k * phase) / k for k in range(1, 60))
    return 0.12 * syllables * (voice + 0.02 * torch.randn(len(time), generator=generator))


def noise(seconds: float = 2.0) -> torch.Tensor:
    return 0.1 * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(1))


def low_passed(sound: torch.Tensor, cutoff: float) -> torch.Tensor:
    spectrum = torch.fft.rfft(sound)
    spectrum[round(cutoff * len(sound) / RATE) :] = 0
    return torch.fft.irfft(spectrum, len(sound))


def with_pauses(sound: torch.Tensor) -> torch.Tensor:
    sound = sound.clone()
    sound[len(sound) // 3 : 2 * len(sound) // 3] = 0
    return sound


def broken(luma: torch.Tensor, sound: torch.Tensor | None = None, caption: str = "") -> set[str]:
    """The options that the clip's reasons name."""
    measures = {"seconds": len(luma) / FPS, "side": 64.0} | measure_picture(luma.round().byte(), FPS)
    if sound is not None:
        measures |= measure_sound(sound, RATE)
    return {reason.split("(--")[1].split(")")[0] for reason in judge(measures, caption, Rules())}


PICTURES = {
    "blurred": (lambda x: F.avg_pool2d(x[:, None], 13, 1, 6)[:, 0], {"least-sharpness"}),
    "of no contrast": (lambda x: 120 + (x - 120) * 0.08, {"least-contrast"}),
    "underexposed": (lambda x: x * 0.02, {"least-contrast", "least-brightness", "least-sharpness"}),
    "overexposed": (lambda x: 255 - x * 0.05, {"least-contrast", "most-brightness", "least-sharpness"}),
    "frozen": (lambda x: x[:1].expand(50, -1, -1), {"least-motion", "most-repeats"}),
    "with every other frame dropped": (lambda x: x[::2].repeat_interleave(2, 0), {"most-repeats"}),
    "flickering": (lambda x: (x + 30 * (torch.arange(50) % 2)[:, None, None]).clamp(0, 255), {"most-flicker"}),
    "too short": (lambda x: x[:20], {"least-seconds"}),
}


@pytest.mark.parametrize("fault", PICTURES)
def test_a_picture_breaks_the_rule_of_its_fault(fault):
    spoil, rules = PICTURES[fault]
    assert broken(spoil(panning())) - {"least-sharpness"} == rules - {"least-sharpness"}
    assert rules <= broken(spoil(panning()))


def test_frames_without_relation_move_too_fast():
    cuts = torch.cat([panning(1, seed=seed) for seed in range(50)])
    assert "most-motion" in broken(cuts)


@pytest.mark.parametrize("seed", range(3))
def test_a_good_clip_breaks_no_rule(seed):
    assert broken(panning(seed=seed), speech(seed=seed)) == set()


SOUNDS = {
    "noise": (lambda x: noise(), {"least-snr"}),
    "drowned in noise": (lambda x: x + noise(), {"least-snr"}),
    "clipped": (lambda x: (x * 12).clamp(-1, 1), {"most-clipping"}),
    "of a telephone": (lambda x: low_passed(x, 3400), {"least-bandwidth"}),
    "with long pauses": (with_pauses, {"most-silence"}),
    "too quiet": (lambda x: x * 1e-3, {"least-volume", "most-silence"}),
    "silent": (torch.zeros_like, {"least-volume", "most-silence", "least-snr", "least-bandwidth"}),
}


@pytest.mark.parametrize("fault", SOUNDS)
def test_a_sound_breaks_the_rule_of_its_fault(fault):
    spoil, rules = SOUNDS[fault]
    assert broken(panning(), spoil(speech())) == rules


def test_effects_may_be_sparse_noisy_and_narrow():
    burst = low_passed(with_pauses(noise()), 2000)
    sustained = {"least-bandwidth", "most-silence"}
    assert sustained <= broken(panning(), burst)
    assert sustained <= broken(panning(), burst, "a door <bgm> piano </bgm> <sfx> a slam </sfx>")
    assert broken(panning(), burst, "a door <sfx> a slam </sfx>") == set()
    assert "most-clipping" in broken(panning(), burst * 100, "a door <sfx> a slam </sfx>")
    assert kinds_of_sound("<dialogue> hi </dialogue> <text> no sound </text>") == {"dialogue"}


def test_a_reason_names_value_limit_and_option():
    measures = measure_sound(with_pauses(speech()), RATE)
    [reason] = judge(measures, "", Rules())
    assert "silence ratio 0.3" in reason and "at most 0.2" in reason and "--most-silence" in reason
    assert "<sfx>" in reason
    [reason] = judge({"offset": -5.0, "confidence": 4.0}, "", Rules())
    assert reason == "offset of the sound -5 frames, at most 3 is allowed (--most-offset)"
    assert judge({"offset": -3.0, "confidence": 1.6}, "", Rules()) == []
    assert len(judge({"offset": 0.0, "confidence": 1.4}, "", Rules())) == 1


def test_every_limit_has_a_measure():
    measures = {"seconds": 2.0, "side": 64.0} | measure_picture(panning().byte(), FPS) | measure_sound(speech(), RATE)
    limits = {rule.name.partition("_")[2] for rule in fields(Rules) if rule.name.startswith(("least_", "most_"))}
    assert limits == measures.keys() | {"offset", "confidence"}


@pytest.mark.parametrize(
    "wrong", [{"most_silence": math.nan}, {"split": 1}, {"least_side": "64"}, {"least_seconds": 0}]
)
def test_rules_refuse_what_is_no_limit(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rules(**wrong)


@pytest.mark.parametrize("ratio", [0.0, 10.0, 20.0])
def test_the_signal_to_noise_ratio_is_that_of_the_mixture(ratio):
    """Of sounds whose own floor is far below: notes with gaps."""
    notes = with_pauses(speech(4.0))
    hiss = noise(4.0)
    hiss *= notes.square().mean().sqrt() / hiss.square().mean().sqrt() * 10 ** (-ratio / 20)
    assert snr(notes + hiss) == pytest.approx(ratio, abs=2)


def test_motion_is_in_sides_per_second():
    stripes = (torch.sin(torch.arange(400) * 2 * math.pi / 32) * 100 + 128).expand(64, -1)
    for pixels in (1, 2, 4):
        film = torch.stack([stripes[:, pixels * t : pixels * t + 96] for t in range(40)])
        assert measure_picture(film, FPS)["motion"] == pytest.approx(pixels * FPS / 64, rel=0.1)


# Duplicates and balance


def film_of(luma: torch.Tensor, fps: float = FPS) -> torch.Tensor:
    return fingerprint(luma.round().clamp(0, 255).byte(), [i / fps for i in range(len(luma))])


def test_copies_are_found_whatever_was_done_to_them():
    clips = [panning(60, seed=seed, speed=1.5) for seed in range(6)]
    films = [film_of(clip) for clip in clips]
    for clip, film in zip(clips, films, strict=True):
        copies = {
            "noisy": film_of(clip + 5 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))),
            "smaller": film_of(F.adaptive_avg_pool2d(clip, (40, 60))),
            "darker": film_of(clip * 0.8 + 10),
            "trimmed at the beginning": film_of(clip[7:]),
            "trimmed at the end": film_of(clip[:-9]),
            "at another rate": film_of(clip[::2], FPS / 2),
        }
        for what, copy in copies.items():
            assert similarity(copy, film) > 0.97, what
    others = [similarity(one, other) for i, one in enumerate(films) for other in films[:i]]
    assert max(others) < 0.9


def test_clips_of_one_camera_are_no_duplicates():
    """The room is the same in both; what moves in it is not."""
    room = panning(1).expand(50, -1, -1)
    clips = []
    for path in (torch.arange(50), 60 - torch.arange(50)):
        clip = room.clone()
        for t, x in enumerate(path.tolist()):
            clip[t, 20:40, x : x + 20] = 250
        clips.append(film_of(clip))
    assert torch.dot(appearance(clips[0]), appearance(clips[1])) > 0.9
    assert similarity(*clips) < 0.5
    assert similarity(clips[0], film_of(room)) == 0


def test_the_first_of_equal_clips_is_kept_and_others_point_to_it():
    one, other = panning(seed=1), panning(seed=2)
    clips = [one, other, one, one + 1, other]
    found = find_duplicates([digest(c.byte()) for c in clips], [film_of(c) for c in clips], 0.97)
    assert found[:2] == [None, None]
    assert [match[0] for match in found[2:]] == [0, 0, 1]
    assert found[2][1] == 1.0 and 0.97 < found[3][1] < 1.001
    exact_only = find_duplicates([digest(c.byte()) for c in clips], [film_of(c) for c in clips], 1.1)
    assert [bool(match) for match in exact_only] == [False, False, True, False, True]


def test_duplicates_are_found_across_chunks(monkeypatch):
    monkeypatch.setattr("training.curation.dedup.CHUNK", 3)
    clips = [panning(30, seed=seed) for seed in range(7)]
    clips = [*clips, clips[0] + 2]
    found = find_duplicates([str(i) for i in range(8)], [film_of(clip) for clip in clips], 0.97)
    assert found[:7] == [None] * 7 and found[7][0] == 0


def test_k_means_finds_clusters():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    true = torch.randint(3, (90,), generator=generator)
    labels = cluster(centres[true] + 0.2 * torch.randn(90, 2, generator=generator), 3)
    assert len({(int(t), label) for t, label in zip(true, labels, strict=True)}) == 3
    assert cluster(torch.zeros(4, 2), 3) == [0] * 4


def test_what_is_rare_is_drawn_more_often():
    pictures = torch.cat([torch.tensor([[1.0, 0.0]]).expand(9, -1), torch.tensor([[0.0, 1.0]])])
    drawn = weights(pictures, [0.1] * 10, ["a dog runs"] * 10, 1.0)
    assert drawn[9] == pytest.approx(9 * drawn[0]) and sum(drawn) == pytest.approx(10)
    by_concept = weights(pictures[:1].expand(10, -1), [0.1] * 10, ["dog"] * 8 + ["cat"] * 2, 1.0)
    assert by_concept[9] == pytest.approx(4 * by_concept[0])
    by_motion = weights(pictures[:1].expand(10, -1), [0.1] * 9 + [0.8], [""] * 10, 0.5)
    assert by_motion[9] == pytest.approx(3 * by_motion[0])
    assert weights(pictures, [0.1] * 10, [""] * 10, 0.0) == [1.0] * 10
    assert weights(torch.empty(0, 1), [], [], 0.5) == []
    assert max(weights(torch.cat([pictures[:1].expand(400, -1), pictures[9:]]), [0.1] * 401, [""] * 401, 1)) == LARGEST


def test_concepts_leave_out_grammar_tags_and_names():
    captions = ["The dog runs <sfx> bark </sfx> @image_1", "a dog and Rex", "the bark"]
    assert concepts(captions) == [{"dog", "bark"}, {"dog"}, {"bark"}]


# Sync


@pytest.fixture(scope="module")
def net():
    return sync.load()


def test_offset_and_confidence_are_those_of_the_paper():
    curve = torch.tensor([5.0, 6.0, 1.0, 5.0, 7.0])
    assert sync.offset_and_confidence(curve) == (0, 4.0)
    assert sync.offset_and_confidence(curve.roll(-1)) == (-1, 4.0)


def test_distances_pair_each_picture_with_the_shifted_sound():
    seen = torch.randn(1, 12, 4, generator=torch.Generator().manual_seed(0))
    for shift in (-3, 0, 4):
        curve = sync.mean_distances(seen, seen.roll(shift, 1), 5)[0]
        assert sync.offset_and_confidence(curve)[0] == shift


def scenes_of(count: int, seed: int = 77):
    scenes = sample_scenes(count, frames=49, generator=torch.Generator().manual_seed(seed))
    luma = (scenes.render().mean(1) + 1) * 127.5
    return luma, [i / 16 for i in range(49)], scenes.sound()[:, 0]


@pytest.mark.parametrize("shift", [0, 2, 5, 8])
def test_sound_that_comes_late_is_measured_and_dropped(net, shift):
    """Frames of 1/25 s. One in ten may be wrong: some clips bounce once."""
    luma, times, sound = scenes_of(24)
    late = F.pad(sound, (round(shift / 25 * SAMPLE_RATE), 0))[:, : sound.shape[1]]
    found = [sync.measure_sync(net, x, times, s, SAMPLE_RATE) for x, s in zip(luma, late, strict=True)]
    right = [abs(one["offset"] - shift) <= 1 for one in found]
    kept = [not judge(one, "", Rules()) for one in found]
    assert sum(right) >= 0.9 * len(right)
    assert sum(kept) >= 0.6 * len(kept) if shift <= 2 else sum(kept) <= 0.1 * len(kept)


def test_clips_without_sound_have_no_confidence(net):
    luma, times, sound = scenes_of(1)
    assert sync.measure_sync(net, luma[0], times, torch.zeros_like(sound[0]), SAMPLE_RATE)["confidence"] == 0
    assert sync.measure_sync(net, luma[0, :4], times[:4], sound[0], SAMPLE_RATE)["confidence"] == 0


def test_sync_is_measured_whatever_loudness_size_and_rates(net):
    luma, times, sound = scenes_of(4)
    for x, s in zip(luma, sound, strict=True):
        plain = sync.measure_sync(net, x, times, s, SAMPLE_RATE)
        large = F.interpolate(x[:, None], scale_factor=2)[:, 0]
        other = sync.measure_sync(net, large, times, 0.3 * s, SAMPLE_RATE)
        assert other["offset"] == plain["offset"]
        assert other["confidence"] == pytest.approx(plain["confidence"], abs=0.05)


def test_a_trained_network_is_read_again_and_another_file_is_refused(tmp_path):
    trained, steps = sync.train(sync.toybox_source(0), 1e-6, clips=2, report=lambda line: None)
    assert steps == 1
    sync.save(tmp_path / "net.safetensors", trained)
    again = sync.load(tmp_path / "net.safetensors")
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, trained.state_dict()[name], rtol=1e-3, atol=1e-6)
    (tmp_path / "other.safetensors").write_bytes(b"other")
    save_file({"weight": torch.zeros(1)}, tmp_path / "another.safetensors")
    for name in ("other", "another", "missing"):
        with pytest.raises(ValueError, match=f"{name}.safetensors is no sync network"):
            sync.load(tmp_path / f"{name}.safetensors")


def test_the_shipped_network_is_small_and_says_how_good_it_is(net):
    assert sync.SHIPPED.stat().st_size < 300_000
    with safe_open(sync.SHIPPED, "pt") as file:
        assert {"training", "held_out"} <= file.metadata().keys()
    figures = sync.evaluate(net, sync.toybox_source(5), clips=64, seed=5)
    assert figures["accuracy"] > 0.85 > figures["strangers_kept"]


# Rendered worlds


def world(count: int = 16, frames: int = 33):
    scenes = sample_scenes(count, frames=frames, generator=torch.Generator().manual_seed(3))
    return scenes.render(), scenes.sound()


@pytest.mark.parametrize("level", ["easy", "medium", "hard"])
@pytest.mark.parametrize("frames", [17, 33])
def test_the_toybox_is_in_order(level, frames):
    scenes = sample_scenes(32, frames=frames, level=level, generator=torch.Generator().manual_seed(8))
    assert check_rendered(scenes.render(), scenes.sound(), 16.0) == []


FAULTS = {
    "black": (lambda v, s: (torch.full_like(v, -1), s), "black"),
    "frozen": (lambda v, s: (v[:, :, :1].expand_as(v), s), "stand still"),
    "silent": (lambda v, s: (v, torch.zeros_like(s)), "all 16 clips are silent"),
    "clipped": (lambda v, s: (v, (s * 30).clamp(-1, 1)), "clipped sound"),
    "late": (lambda v, s: (v, s.roll(round(0.3 * SAMPLE_RATE), -1)), "ms late"),
    "of other clips": (lambda v, s: (v, s.roll(1, 0)), "do not go together"),
    "twice": (lambda v, s: (v[[0, *range(15)]], s[[0, *range(15)]]), "1 of 16 clips show what another one shows"),
    "out of range": (lambda v, s: (v * 2, s), "video reaches"),
    "not finite": (lambda v, s: (v, s * math.nan), "not finite"),
    "too short": (lambda v, s: (v, s[..., :60_000]), "samples"),
    "of another shape": (lambda v, s: (v[:, 0], s), "shapes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_world_is_noticed(fault):
    spoil, words = FAULTS[fault]
    problems = check_rendered(*spoil(*world()), 16.0)
    assert any(words in problem for problem in problems), problems
    assert fault in ("black", "out of range") or len(problems) <= 2, problems  # these two break much
