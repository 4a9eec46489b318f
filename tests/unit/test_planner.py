"""The plan of a clip: numbers by hand for small clips, what grows with what, and what does not fit."""

import subprocess
import sys
from dataclasses import replace

import pytest

from canvas import planner
from canvas.cost import TILE, ModelCost, duration
from canvas.errors import CanvasError
from canvas.grid import VideoGrid
from canvas.planner import NETWORKS, Clip, Sampling, direct, frames_in, main, plan, refined, report
from canvas.windows import Tiles, tiles_of
from models import refiner as models_refiner

MODEL = ModelCost(dim=8, blocks=3, mlp_ratio=2.0, parameters=1000, bytes_per_number=2, audio_patch=2)
BASE = Sampling(MODEL, steps=10, passes=2, rate=1e6)
REFINER = Sampling(replace(MODEL, sparsity=0.5), steps=4, rate=1e6)
SMALL = Clip(128, 128, 33, 32.0)  # 9 latent frames of 8 x 8 tokens; 1.03 s: 45 audio latents


def test_direct_by_hand():
    (stage,) = direct(SMALL, BASE).stages
    video, audio = 9 * 8 * 8, 23
    assert (stage.tokens, stage.windows, stage.passes) == (video + audio, 1, 20)
    # self-attention of both, and both ways between them; four operations for each channel of a pair
    pairs = video**2 + audio**2 + 2 * video * audio
    assert stage.attention == 3 * 4 * 8 * pairs
    # query, key, value, output, MLP of twice the width: 8 matrices for all, 4 between the branches, 2 for the words
    assert stage.operations == stage.attention + 3 * 2 * 8**2 * ((8 + 4) * (video + audio) + 2 * video)
    assert stage.seconds == pytest.approx(20 * stage.operations / 1e6)


def test_refined_by_hand():
    scheme = refined(SMALL, BASE, REFINER, scale=2, frame_factor=2, keyframes=3)
    base, refiner = scheme.stages
    keyframes, audio = 3 * 8 * 8, 23  # 17 frames at 16 per second: 1.06 s, 46 audio latents
    video = 5 * 4 * 4 + keyframes
    assert (base.tokens, base.windows, base.passes) == (video + audio, 1, 20)
    assert base.attention == 3 * 4 * 8 * (video + audio) ** 2
    assert (refiner.tokens, refiner.windows, refiner.passes) == (576, 1, 4)
    tiles, kept = 3 * 2 * 2, 6
    assert refiner.attention == 3 * 4 * 8 * (576 * kept * 64 + tiles**2)
    assert refiner.operations == refiner.attention + 3 * 2 * 8**2 * (8 + 2 + 1) * 576  # eq. 4, and the gates
    assert scheme.operations() == 20 * base.operations + 4 * refiner.operations
    assert scheme.attention(1) == base.attention + refiner.attention
    assert scheme.bytes == max(base.bytes, refiner.bytes)
    assert scheme.seconds == pytest.approx(scheme.operations() / 1e6)


def test_the_base_of_a_refined_clip_is_a_small_clip_made_directly():
    small = direct(Clip(64, 64, 17, 16.0), BASE).stages
    assert refined(SMALL, BASE, REFINER, scale=2, frame_factor=2).stages[:1] == small


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("factor", [1, 2])
def test_the_refiner_always_makes_the_full_size(scale, factor):
    assert refined(SMALL, BASE, REFINER, scale=scale, frame_factor=factor).stages[1].tokens == 576


def test_the_longer_the_clip_the_more_the_refiner_spares():
    def ratio(frames):
        clip = Clip(256, 256, frames, 32.0)
        return direct(clip, BASE).attention(1) / refined(clip, BASE, REFINER, keyframes=2).attention(1)

    ratios = [ratio(frames) for frames in (1 + 8 * n for n in (2, 8, 40))]
    assert ratios == sorted(ratios) and ratios[-1] > 1.5 * ratios[0]


def test_windows():
    clip, tiles = Clip(256, 128, 65, 32.0), tiles_of(33, 128, 32, VideoGrid())
    whole, tiled = (refined(clip, BASE, REFINER, tiles=one).stages[1] for one in (None, tiles))
    # 17 latent frames in windows of 9 that share 2; 16 columns of tokens in windows of 8 that share 2
    assert (tiled.windows, tiled.tokens) == (3 * 3, 9 * 8 * 8) and (whole.windows, whole.tokens) == (1, 17 * 8 * 16)
    assert tiled.windows * tiled.tokens > whole.tokens and tiled.bytes < whole.bytes
    assert tiled.windows * tiled.attention < whole.attention
    assert refined(clip, BASE, REFINER, tiles=Tiles()).stages[1] == whole
    large = Tiles((100, 8, 100), (1, 2, 1))  # of what is larger than the clip, the clip's size counts
    assert refined(clip, BASE, REFINER, tiles=large).stages[1] == whole


def test_sparsity_spares_attention_alone():
    dense, sparse = (
        refined(SMALL, BASE, replace(REFINER, model=replace(MODEL, sparsity=sparsity))).stages[1]
        for sparsity in (0.0, 0.9)
    )
    assert dense.attention > 4 * sparse.attention
    assert dense.operations - dense.attention == sparse.operations - sparse.attention


def test_a_large_clip_of_the_issue_needs_fewer_operations_of_attention():
    clip = Clip(1920, 1088, frames_in(15, 32, 2), 32.0)
    base = Sampling(NETWORKS["mini"], 30, 2)
    refiner = Sampling(replace(NETWORKS["mini"], sparsity=0.9), 8)
    first = direct(clip, base)
    whole = refined(clip, base, refiner, keyframes=4)
    tiled = refined(clip, base, refiner, keyframes=4, tiles=tiles_of(33, 512, 64, VideoGrid()))
    assert first.stages[0].tokens == 121 * 68 * 120 + 324
    assert first.attention(1) > 5 * whole.attention(1) > 5 * tiled.attention(1)


@pytest.mark.parametrize(
    ("seconds", "rate", "factor", "frames"),
    [(15, 32, 2, 481), (15, 32, 1, 481), (1, 16, 1, 17), (1.01, 16, 1, 17), (1.1, 16, 1, 21), (0.01, 16, 2, 1)],
)
def test_frames_in(seconds, rate, factor, frames):
    assert frames_in(seconds, rate, factor) == frames
    assert frames / rate >= seconds


@pytest.mark.parametrize(
    ("clip", "how", "message"),
    [
        ({"width": 1080}, {}, "width 1080 is not a multiple of 64: use 1024 or 1088"),
        ({"height": 100}, {"scale": 2}, "height 100 is not a multiple of 32: use 96 or 128"),
        ({"frames": 480}, {}, r"length 480 is not 8n\+1: use 473 or 481"),
        ({"frames": 30}, {"frame_factor": 1}, r"length 30 is not 4n\+1: use 29 or 33"),
        ({}, {"scale": 5}, "scale is 5: use 1, 2, 3 or 4"),
        ({}, {"frame_factor": 3}, "frame_factor is 3: use 1 or 2"),
        ({}, {"keyframes": 18}, "keyframes is 18: use 0 to 17"),
        ({}, {"keyframes": -1}, "keyframes is -1"),
    ],
)
def test_what_does_not_fit(clip, how, message):
    clip = replace(Clip(128, 128, 33, 32.0), **clip)
    for scheme in ("both", "refined"):
        with pytest.raises(CanvasError, match=message):
            plan(clip, scheme, BASE, REFINER, video=VideoGrid(), **how)


def test_what_does_not_fit_the_direct_scheme():
    with pytest.raises(CanvasError, match="width 72 is not a multiple of 16: use 64 or 80"):
        direct(replace(SMALL, width=72), BASE)
    assert plan(replace(SMALL, width=80), "direct", BASE, REFINER, video=VideoGrid(), scale=4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Clip(16, 16, 1, 0.0), "frame_rate is 0"),
        (lambda: Sampling(MODEL, 0), "steps is 0: use 1 or more"),
        (lambda: Sampling(MODEL, 1, 0), "passes is 0"),
        (lambda: Sampling(MODEL, 1, rate=0.0), "rate is 0"),
        (lambda: replace(MODEL, dim=0), "dim is 0: use 1 or more"),
        (lambda: replace(MODEL, mlp_ratio=0.0), "mlp_ratio is 0"),
        (lambda: replace(MODEL, sparsity=1.5), "sparsity is 1.5: use 0"),
        (lambda: frames_in(0, 32), "0 seconds"),
        (
            lambda: plan(SMALL, "best", BASE, REFINER, video=VideoGrid()),
            "scheme is 'best': use both, direct or refined",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises(CanvasError, match=message):
        make()


def test_factors_and_tiles_are_those_of_the_networks():
    from models.sparse_attention import TILE as tile

    assert (planner.SCALES, planner.FRAME_FACTORS) == (models_refiner.SCALES, models_refiner.FRAME_FACTORS)
    assert tile == TILE


def test_text():
    schemes = plan(SMALL, "both", BASE, REFINER, video=VideoGrid(), scale=2, tiles=tiles_of(17, 0, 0, VideoGrid()))
    lines = report(SMALL, schemes).splitlines()
    assert lines[0] == "128 x 128, 33 frames, 1.0 s at 32 fps:"
    assert [line.split(":")[0] for line in lines[1:5]] == [
        "direct, base",
        "refined, base",
        "refined, Refiner in 2 windows",
        "refined, together",
    ]
    assert "599 tokens" in lines[1] and "20 passes" in lines[1] and "8 passes" in lines[3]
    (stage,) = schemes[0].stages
    assert f"{20 * stage.operations / 1e6:.0f} M operations" in lines[1]
    ratio = schemes[0].attention() / schemes[1].attention()
    assert lines[5].startswith(f"refined against direct: {ratio:.1f} times fewer operations of attention")
    unknown = [replace(scheme, stages=tuple(replace(s, seconds=None) for s in scheme.stages)) for scheme in schemes]
    assert lines[1].endswith(duration(stage.seconds)) and report(SMALL, unknown).splitlines()[1].endswith("MiB")


def test_the_text_of_one_scheme_compares_nothing():
    assert "against" not in report(SMALL, plan(SMALL, "refined", BASE, REFINER, video=VideoGrid()))


def test_a_ratio_below_one_is_said_as_it_is():
    slow = replace(REFINER, steps=500)
    text = report(SMALL, [direct(SMALL, BASE), refined(SMALL, BASE, slow)])
    assert "times more operations of attention" in text


def test_command(capsys):
    size = ["--width", "128", "--height", "128", "--fps", "32", "--scale", "2"]
    main([*size, "--seconds", "1", "--rate", "1e9"])
    shown = capsys.readouterr().out
    assert shown.startswith("128 x 128, 33 frames, 1.0 s at 32 fps:") and "refined, together" in shown
    main([*size, "--length", "33", "--scheme", "direct", "--dim", "256", "--network", "ovi"])
    assert "refined" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match="error: length 480 is not 8n"):
        main([*size, "--length", "480"])
    with pytest.raises(SystemExit, match="error: dim is 0"):
        main([*size, "--length", "33", "--dim", "0"])


def test_the_command_waits_for_no_torch():
    code = "import sys; import canvas.planner; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
