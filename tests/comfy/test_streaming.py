"""Clips piece by piece: the same as at once, in memory that does not grow with the length."""

import copy
import struct
from fractions import Fraction
from pathlib import Path

import av
import comfy.ldm.wan.vae
import comfy.model_management
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from comfy.cli_args import args
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import InputImpl, Types
from memory_tools import PeakMemory
from node_tools import noise, run, sound
from skycanvas.carriers.streaming import CONTEXT, decode_frames, encode_frames
from skycanvas.carriers.vae import SkyCanvasAudioVAE, SkyCanvasVideoVAE, load_vae
from skycanvas.nodes import loaders, streaming
from skycanvas.nodes.example import EXAMPLES
from skycanvas.nodes.output import SkyCanvasDecode
from skycanvas.nodes.streaming import SkyCanvasDecodeToFile, SkyCanvasEncodeVideo

import nodes

WEIGHTS = Path(streaming.__file__).parents[1] / "models" / "weights"  # as shipped


@pytest.fixture(scope="module")
def vae():
    with torch.inference_mode():
        return load_vae(SkyCanvasVideoVAE, str(WEIGHTS / loaders.VIDEO_VAE))


@pytest.fixture(scope="module")
def audio_vae():
    with torch.inference_mode():
        return load_vae(SkyCanvasAudioVAE, str(WEIGHTS / loaders.AUDIO_VAE))


@pytest.fixture(scope="module")
def wan():
    """A VAE of ComfyUI's own whose frames depend on many before: Wan's, with few channels and random weights."""
    sizes = {"z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": []}
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        network = comfy.ldm.wan.vae.WanVAE(dim=8, temperal_downsample=[False, True, True], dropout=0.0, **sizes)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        return comfy.sd.VAE(sd=network.state_dict())


@pytest.fixture(scope="module")
def pixels():
    """ComfyUI's smallest VAE of pictures: latents are pixels."""
    with torch.inference_mode():
        return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)})


def video_latent(length, clips=1, size=(2, 3), channels=8, seed=0):
    return torch.randn(clips, channels, length, *size, generator=torch.Generator().manual_seed(seed))


def decoded(vae, latent, **options):
    return torch.cat(list(decode_frames(vae, latent, **options)))


# --- piece by piece


@pytest.mark.parametrize("chunk", [1, 2, 3, 16, None])
def test_decoded_as_at_once(vae, chunk):
    for length in (1, 2, 3, 4, 5, 16, 17, 18, 33):
        latent = video_latent(length)
        torch.testing.assert_close(decoded(vae, latent, chunk=chunk), vae.decode(latent)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2, 3, None])
def test_encoded_as_at_once_from_pieces_of_any_lengths(vae, chunk):
    for length in (1, 5, 9, 13, 61, 65, 69):
        images = noise(length, 16, 24, 3)
        expected = vae.encode(images)
        for piece in (1, 3, 4, 100):
            latent = encode_frames(vae, images.split(piece), chunk=chunk)
            torch.testing.assert_close(latent, expected, rtol=0, atol=1e-5)


def test_pieces_are_as_long_as_asked_for(vae):
    assert [len(frames) for frames in decode_frames(vae, video_latent(8), chunk=3)] == [9, 12, 8]
    assert [len(frames) for frames in decode_frames(vae, video_latent(20))] == [61, 16]


def test_large_pictures_have_short_pieces(vae, monkeypatch):
    monkeypatch.setattr("skycanvas.carriers.streaming.MOST_PIXELS", 3 * 4 * 16 * 24)
    assert [len(frames) for frames in decode_frames(vae, video_latent(8))] == [9, 12, 8]
    assert [len(frames) for frames in decode_frames(vae, video_latent(3, size=(20, 30)))] == [1, 4, 4]
    lengths = []
    spy = copy.copy(vae)
    spy.encode = lambda images: lengths.append(len(images)) or vae.encode(images)
    encode_frames(spy, noise(29, 16, 24, 3).split(1))
    assert lengths == [9, 1 + 12, 1 + 8]  # with the frame before


def test_clips_of_a_batch_follow_one_another(vae):
    latent = video_latent(4, clips=2)
    torch.testing.assert_close(decoded(vae, latent, chunk=3), vae.decode(latent).flatten(0, 1), rtol=0, atol=1e-6)
    stills = latent[:, :, 0]
    torch.testing.assert_close(decoded(vae, stills), vae.decode(latent[:, :, :1])[:, 0], rtol=0, atol=1e-6)


def test_sizes_are_cropped_as_vae_encode_does(vae):
    images = noise(5, 21, 24, 4)
    assert torch.equal(encode_frames(vae, images.split(2)), nodes.VAEEncode().encode(vae, images)[0]["samples"])


def test_other_vaes_in_one_window_are_exact(wan):
    latent = video_latent(6, channels=16)
    assert torch.equal(decoded(wan, latent, chunk=6), wan.decode(latent)[0])
    images = noise(21, 16, 24, 3)
    assert torch.equal(encode_frames(wan, images.split(5), chunk=6), wan.encode(images))


def test_other_vaes_see_a_little_more_than_their_window(wan, monkeypatch):
    """Frames of their first window are exact, and the others nearer to the truth for the context."""

    def errors():
        latent, images = video_latent(9, channels=16), noise(33, 16, 24, 3)
        pictures = (decoded(wan, latent, chunk=3) - wan.decode(latent)[0]).abs()
        latents = (encode_frames(wan, images.split(7), chunk=3) - wan.encode(images)).abs()
        assert pictures[:9].max() < 1e-5 and latents[:, :, :3].max() < 1e-5
        return pictures[9:].mean(), latents[:, :, 3:].mean()

    near = errors()
    assert CONTEXT == 2
    monkeypatch.setattr("skycanvas.carriers.streaming.CONTEXT", 1)
    assert all(0 < a < 0.7 * b for a, b in zip(near, errors(), strict=True))


def test_vaes_of_pictures_take_each_frame_alone(pixels, wan):
    images = noise(5, 6, 4, 3)
    latent = encode_frames(pixels, images.split(2), chunk=2)
    assert latent.shape == (1, 3, 5, 6, 4)
    assert torch.equal(decoded(pixels, latent, chunk=2), images)
    stills = copy.copy(wan)
    stills.not_video = True  # as the VAE of Hunyuan Image's refiner
    latent = encode_frames(stills, noise(5, 16, 24, 3).split(2))
    alone = [wan.encode(image[None]) for image in noise(5, 16, 24, 3)]
    torch.testing.assert_close(latent, torch.cat(alone, 2))
    torch.testing.assert_close(decoded(stills, latent)[3], wan.decode(alone[3])[0, 0])


def peaks(work) -> list[float]:
    """Bytes of tensors at the peak, for a short clip and one of ten times its length."""
    result = []
    for length in (13, 121):
        with PeakMemory() as memory:
            work(length)
        result.append(memory.peak)
    return result


def test_memory_does_not_grow_with_the_length(vae):
    def decode(length):
        for _ in decode_frames(vae, video_latent(length, size=(4, 4)), chunk=4):
            pass

    def encode(length):
        encode_frames(vae, (torch.rand(2 if i else 1, 32, 32, 3) for i in range(2 * length - 1)), chunk=4)

    decode(1)
    encode(1)  # loads what is needed once
    latents = (121 - 13) * video_latent(1, size=(4, 4)).nbytes  # which do grow; pixels are 96 times as much
    short, long = peaks(decode)
    assert long - short < 1.5 * latents
    short, long = peaks(encode)
    assert long - short < 2.5 * latents  # one by one, and together
    short, long = peaks(lambda length: vae.decode(video_latent(length, size=(4, 4))))
    assert long > 3 * short


def test_interrupt_and_progress_at_each_piece(vae, monkeypatch):
    seen = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: seen.append((value, total)))
    latent = video_latent(3, clips=2)
    images = decoded(vae, latent, chunk=2)
    encode_frames(vae, images[:9].split(5), frames=9, chunk=2)
    assert seen[0] == (2, 6) and (6, 6) in seen and seen[-1] == (9, 9)  # ComfyUI leaves out what comes too fast

    pieces = decode_frames(vae, latent, chunk=2)
    next(pieces)
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        next(pieces)

    def interrupted():
        yield images[:1]
        comfy.model_management.interrupt_current_processing(True)
        yield images[1:9]

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        encode_frames(vae, interrupted(), chunk=1)


def test_a_wrong_length_is_refused_before_any_frame_is_asked_for(vae):
    def forbidden():
        pytest.fail("a frame was read")
        yield

    with pytest.raises(ValueError, match="length 30 is not 4n.1: use 29 or 33"):
        encode_frames(vae, forbidden(), frames=30)
    with pytest.raises(ValueError, match="length 30 is not 4n.1: use 29 or 33"):
        encode_frames(vae, noise(30, 16, 16, 3).split(7))


def test_errors(vae, audio_vae, pixels):
    with pytest.raises(ValueError, match="the clip has no frames"):
        encode_frames(vae, [])
    with pytest.raises(ValueError, match=r"frames have shape \[2, 16, 24, 3\]: give \[f, 16, 16, 3\]"):
        encode_frames(vae, [noise(3, 16, 16, 3), noise(2, 16, 24, 3)])
    with pytest.raises(ValueError, match=r"frames have shape \[16, 16, 3\]: give \[f, H, W, 3\]"):
        encode_frames(vae, noise(1, 16, 16, 3))
    with pytest.raises(ValueError, match="chunk is 0: use 1 or more latent frames"):
        decode_frames(vae, video_latent(1), chunk=0)
    with pytest.raises(ValueError, match=r"latent has shape \[1, 16, 1, 2, 3\]: this VAE decodes \[clips, 8, "):
        decode_frames(vae, video_latent(1, channels=16))
    with pytest.raises(ValueError, match=r"this VAE decodes \[clips, 8"):
        decode_frames(vae, video_latent(0))
    for codec in (lambda: decode_frames(audio_vae, video_latent(1)), lambda: encode_frames(audio_vae, [])):
        with pytest.raises(ValueError, match="vae encodes sound: connect the VAE of the pictures"):
            codec()
    other = copy.copy(vae)
    other.upscale_ratio = (lambda n: max(1, (n - 2) // 5 * 17 + 5), 8, 8)  # MiniMax's
    with pytest.raises(ValueError, match="1, 5, 5 frames of 1, 2, 3 latent frames.* use 'VAE Decode'"):
        decode_frames(other, video_latent(1))


# --- into a file


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path


def joint_latent(length=5, clips=1, frame_rate=16.0):
    audio = 0.5 * video_latent(round(length * 11), clips, size=(1, 1), channels=16)[..., 0, 0]
    return {"samples": NestedTensor((0.5 * video_latent(length, clips), audio)), "frame_rate": frame_rate}


def test_file_is_what_save_video_writes(vae, output):
    latent = 0.5 * video_latent(20)
    audio = sound(77 / 12.5, channels=2)
    video, *_ = run(SkyCanvasDecodeToFile, samples={"samples": latent, "frame_rate": 12.5}, vae=vae, audio=audio)
    images = ((vae.decode(latent)[0] * 255).round() + 0.25) / 255  # Save Video rounds down
    components = Types.VideoComponents(images=images, audio=audio, frame_rate=Fraction("12.5"))
    InputImpl.VideoFromComponents(components).save_to(str(output / "core.mp4"), crf=23.0)
    core = InputImpl.VideoFromFile(str(output / "core.mp4"))
    assert video.get_frame_count() == core.get_frame_count() == 77
    assert video.get_frame_rate() == core.get_frame_rate() == Fraction("12.5")
    mine, theirs = video.get_components(), core.get_components()
    assert torch.equal(mine.images, theirs.images) and (mine.images - images).abs().mean() < 0.05
    assert torch.equal(mine.audio["waveform"], theirs.audio["waveform"])
    assert mine.audio["waveform"].shape[2] >= audio["waveform"].shape[2]


def test_node_shows_and_returns_the_file(vae, output):
    inputs = {"samples": joint_latent(), "vae": vae, "fps": 0.0, "filename_prefix": "a/clip_%width%x%height%"}
    done = [SkyCanvasDecodeToFile.execute(**inputs) for _ in range(2)]
    for number, node in enumerate(done, 1):
        file = f"clip_24x16_0000{number}_.mp4"
        assert node.ui.as_dict()["images"] == [{"filename": file, "subfolder": "a", "type": "output"}]
        assert node.result[0].get_stream_source() == str(output / "a" / file)
        assert node.result[0].get_components().audio is None
    assert len(list(output.rglob("*.*"))) == 2


def test_dropping_the_file_on_the_canvas_opens_the_workflow(vae, output, monkeypatch):
    node = SkyCanvasDecodeToFile.PREPARE_CLASS_CLONE(None)
    node.hidden.prompt, node.hidden.extra_pnginfo = {"1": {"inputs": {}}}, {"workflow": {"nodes": []}}
    (video,) = run(node, samples=joint_latent(1), vae=vae)
    with av.open(video.get_stream_source()) as file:
        assert {"prompt": '{"1": {"inputs": {}}}', "workflow": '{"nodes": []}'}.items() <= file.metadata.items()
    monkeypatch.setattr(args, "disable_metadata", True)
    (video,) = run(node, samples=joint_latent(1), vae=vae)
    with av.open(video.get_stream_source()) as file:
        assert not {"prompt", "workflow"} & set(file.metadata)


def test_sound_is_written_whole(vae, output):
    """Also where it is longer than the picture."""
    audio = sound(3.0)
    (video,) = run(SkyCanvasDecodeToFile, samples=joint_latent(2), vae=vae, audio=audio)
    with av.open(video.get_stream_source()) as file:
        assert file.streams.video[0].frames == 5
        samples = sum(frame.samples for frame in file.decode(audio=0))
    assert 3 * 44100 <= samples < 3 * 44100 + 2 * 1024


def test_sound_of_a_joint_latent_is_that_of_decode(vae, audio_vae, output):
    latent = joint_latent(clips=2)
    (video,) = run(SkyCanvasDecodeToFile, samples=latent, vae=vae, audio_vae=audio_vae)
    images, audio, fps = SkyCanvasDecode.execute(latent, vae, audio_vae).result
    (other,) = run(SkyCanvasDecodeToFile, samples=latent, vae=vae, audio=audio)
    mine, theirs = video.get_components(), other.get_components()
    assert len(mine.images) == len(images) == 34 and mine.frame_rate == fps
    assert torch.equal(mine.audio["waveform"], theirs.audio["waveform"]) and mine.audio["waveform"].abs().max() > 0


def test_sound_and_picture_lie_side_by_side(vae, output, monkeypatch):
    monkeypatch.setattr("skycanvas.carriers.streaming.MOST_LATENTS", 4)
    latent = {"samples": 0.5 * video_latent(41), "frame_rate": 16.0}
    (video,) = run(SkyCanvasDecodeToFile, samples=latent, vae=vae, audio=sound(10.0))
    with av.open(video.get_stream_source()) as file:
        kinds = [packet.stream.type for packet in sorted(file.demux(), key=lambda p: p.pos or 0) if packet.size]
    assert sum(a != b for a, b in zip(kinds, kinds[1:], strict=False)) > 10


def test_quality_and_bit_depth(vae, output):
    latent = {"samples": video_latent(3, size=(6, 8)), "frame_rate": 16.0}
    size, depth = [], []
    for options in ({}, {"crf": 0.0}, {"crf": 51.0}, {"bit_depth": 10}):
        (video,) = run(SkyCanvasDecodeToFile, samples=latent, vae=vae, **options)
        size.append(Path(video.get_stream_source()).stat().st_size)
        depth.append(video.get_bit_depth())
    assert size[2] < 0.5 * size[0] < 0.25 * size[1] and depth == [8, 8, 8, 10]


def test_frame_rate(vae, output):
    latent = joint_latent()
    assert run(SkyCanvasDecodeToFile, samples=latent, vae=vae)[0].get_frame_rate() == 16
    assert run(SkyCanvasDecodeToFile, samples=latent, vae=vae, fps=30.0)[0].get_frame_rate() == 30
    nameless = {"samples": latent["samples"]}
    expected = 17 * (44100 / 1024) / 55  # the sound then lasts as long as the picture
    assert float(run(SkyCanvasDecodeToFile, samples=nameless, vae=vae)[0].get_frame_rate()) == pytest.approx(
        expected, abs=1e-3
    )


class Forbidden:
    """A VAE that must not be used yet."""

    def __init__(self, vae):
        self.__dict__.update(vae.__dict__)
        self.vae = vae

    def __getattr__(self, name):
        return getattr(self.vae, name)

    def decode(self, *_):
        pytest.fail("something was decoded")

    encode = decode


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"samples": {"samples": video_latent(2)}}, "fps is 0, and the latent has no frame rate of its own: set fps"),
        ({"fps": 0.01}, "fps is 0.01: use 0.1 to 1000"),
        ({"fps": float("nan")}, "fps is nan: use 0.1 to 1000"),
        ({"audio": sound(0.1, channels=3)}, "audio has 3 channels: use 1, 2, 6"),
        ({"audio": sound(0.1, sample_rate=23000)}, "audio has 23000 Hz, which AAC cannot hold: resample it to 22050"),
        ({"audio": sound(0.1, batch=2)}, "audio is a batch of 2 sounds: connect one"),
        ({"filename_prefix": "../clip"}, "outside the output folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_decoded(vae, output, inputs, message):
    with pytest.raises(Exception, match=message):
        run(SkyCanvasDecodeToFile, **({"samples": joint_latent(), "vae": Forbidden(vae)} | inputs))
    assert not list(output.iterdir())


def test_inputs_that_do_not_go_together(vae, audio_vae, pixels, output):
    latent = joint_latent()
    with pytest.raises(ValueError, match="audio and audio_vae are both connected"):
        run(SkyCanvasDecodeToFile, samples=latent, vae=vae, audio_vae=audio_vae, audio=sound(1.0))
    with pytest.raises(ValueError, match="is not joint"):
        plain = {"samples": video_latent(2), "frame_rate": 16.0}
        run(SkyCanvasDecodeToFile, samples=plain, vae=vae, audio_vae=audio_vae)
    with pytest.raises(ValueError, match="height 5 is odd, which H.264 cannot hold: use 4 or 6"):
        odd = {"samples": noise(1, 3, 2, 5, 4), "frame_rate": 16.0}
        run(SkyCanvasDecodeToFile, samples=odd, vae=pixels)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt(), None])
def test_nothing_half_written_is_left(vae, output, error):
    failing = copy.copy(vae)
    calls = []

    def decode(window):
        calls.append(window)
        if len(calls) == 3:
            assert len(list(output.rglob("*.*"))) == 1  # aside
            if error:
                raise error
            comfy.model_management.interrupt_current_processing(True)
        return vae.decode(window)

    failing.decode = decode
    expected = type(error) if error else comfy.model_management.InterruptProcessingException
    with pytest.raises(expected):
        run(
            SkyCanvasDecodeToFile,
            samples={"samples": video_latent(60), "frame_rate": 16.0},
            vae=failing,
            filename_prefix="clip",
            audio=sound(1.0),
        )
    assert len(calls) == 3 and not list(output.rglob("*.*"))


def test_a_file_that_came_meanwhile_is_not_overwritten(vae, output):
    slow = copy.copy(vae)

    def decode(window):
        (output / "clip_00001_.mp4").write_bytes(b"another's")
        return vae.decode(window)

    slow.decode = decode
    (video,) = run(SkyCanvasDecodeToFile, samples=joint_latent(), vae=slow, filename_prefix="clip")
    assert Path(video.get_stream_source()).name == "clip_00002_.mp4"
    assert (output / "clip_00001_.mp4").read_bytes() == b"another's"


# --- from a file


def video_file(path, frames=17, size=(24, 16), codec="h264", pixels="yuv420p", audio=None, rate=16, **options):
    """A file of moving noise; size: width, height."""
    images = torch.nn.functional.interpolate(noise(frames, 3, 4, 6), (size[1], size[0]), mode="bilinear")
    with av.open(str(path), "w", **options) as file:
        stream = file.add_stream(codec, rate=rate)
        (stream.width, stream.height), stream.pix_fmt = size, pixels
        track = file.add_stream("aac", rate=44100, layout="stereo") if audio is not None else None
        for image in (images * 255).byte().movedim(1, -1).numpy():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)))
        file.mux(stream.encode(None))
        if track is not None:
            sound_frame = av.AudioFrame.from_ndarray(audio["waveform"][0].numpy(), format="fltp", layout="stereo")
            sound_frame.sample_rate, sound_frame.pts = 44100, 0
            file.mux(track.encode(sound_frame))
            file.mux(track.encode(None))
    return InputImpl.VideoFromFile(str(path))


def expected_latent(video, vae, start=0, stop=None):
    return vae.encode(video.get_components().images[start:stop])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"frames": 41}),
        ("narrow.mp4", {"size": (40, 72)}),
        ("deep.mkv", {"pixels": "yuv420p10le"}),
        ("full.mkv", {"codec": "mjpeg", "pixels": "yuvj420p"}),
        ("plain.mkv", {"codec": "ffv1", "pixels": "bgr0"}),
    ],
)
def test_frames_are_those_of_get_video_components(vae, tmp_path, monkeypatch, name, options):
    monkeypatch.setattr("skycanvas.carriers.streaming.MOST_LATENTS", 3)
    video = video_file(tmp_path / name, **options)
    latent, audio, fps = run(SkyCanvasEncodeVideo, video=video, vae=vae)
    torch.testing.assert_close(latent["samples"], expected_latent(video, vae), rtol=0, atol=1e-5)
    assert audio is None and fps == latent["frame_rate"] == 16.0


def test_example_of_the_pack(vae):
    video = InputImpl.VideoFromFile(str(EXAMPLES / "red_circle.mkv"))
    latent, audio, fps = run(SkyCanvasEncodeVideo, video=video, vae=vae)
    torch.testing.assert_close(latent["samples"], expected_latent(video, vae), rtol=0, atol=1e-5)
    assert torch.equal(audio["waveform"], video.get_components().audio["waveform"]) and fps == 16


def test_video_that_a_telephone_has_turned(vae, tmp_path):
    video_file(tmp_path / "upright.mp4")
    content = (tmp_path / "upright.mp4").read_bytes()
    matrix = content.index(b"tkhd") + 4 + 40
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 16 << 16, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(content[:matrix] + turned + content[matrix + 36 :])
    video = InputImpl.VideoFromFile(str(tmp_path / "turned.mp4"))
    images = video.get_components().images
    assert images.shape == (17, 24, 16, 3)
    latent, *_ = run(SkyCanvasEncodeVideo, video=video, vae=vae)
    torch.testing.assert_close(latent["samples"], vae.encode(images), rtol=0, atol=1e-5)


def test_video_of_images_is_not_compressed_first(vae):
    images, audio = noise(18, 16, 24, 3), sound(18 / 25)
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=audio, frame_rate=Fraction(25)))
    latent, heard, fps = run(SkyCanvasEncodeVideo, video=video, vae=vae)
    torch.testing.assert_close(latent["samples"], vae.encode(images[:17]), rtol=0, atol=1e-5)
    assert torch.equal(heard["waveform"], audio["waveform"]) and fps == 25
    latent, heard, _ = run(SkyCanvasEncodeVideo, video=video, vae=vae, start_frame=5, length=9)
    torch.testing.assert_close(latent["samples"], vae.encode(images[5:14]), rtol=0, atol=1e-5)
    assert torch.equal(heard["waveform"], audio["waveform"][..., round(5 / 25 * 44100) : round(14 / 25 * 44100)])


def test_part_of_a_video_and_its_sound(vae, tmp_path):
    video = video_file(tmp_path / "a.mp4", frames=40, audio=sound(3.0, channels=2))
    whole = video.get_components().audio["waveform"]
    latent, audio, _ = run(SkyCanvasEncodeVideo, video=video, vae=vae, start_frame=7, length=13)
    torch.testing.assert_close(latent["samples"], expected_latent(video, vae, 7, 20), rtol=0, atol=1e-5)
    assert torch.equal(audio["waveform"], whole[..., round(7 / 16 * 44100) : round(20 / 16 * 44100)])
    latent, audio, _ = run(SkyCanvasEncodeVideo, video=video, vae=vae, start_frame=2)
    torch.testing.assert_close(latent["samples"], expected_latent(video, vae, 2, 39), rtol=0, atol=1e-5)
    assert torch.equal(audio["waveform"], whole[..., round(2 / 16 * 44100) :])  # also what is longer than the picture


def test_trimmed_video(vae, tmp_path):
    video = video_file(tmp_path / "a.mp4", frames=40, audio=sound(3.0, channels=2)).as_trimmed(0.5, 1.0)
    components = video.get_components()
    latent, audio, _ = run(SkyCanvasEncodeVideo, video=video, vae=vae)
    assert len(components.images) == 16
    torch.testing.assert_close(latent["samples"], vae.encode(components.images[:13]), rtol=0, atol=1e-5)
    assert torch.equal(audio["waveform"], components.audio["waveform"])


def test_node_says_what_is_left_out(vae, tmp_path):
    video = video_file(tmp_path / "a.mp4", frames=8, size=(30, 18))
    node = SkyCanvasEncodeVideo.execute(video, vae)
    assert node.result[0]["samples"].shape == (1, 8, 2, 2, 3)
    assert node.ui.as_dict()["text"] == (
        "5 frames, 0.31 s\n"
        "The edges of 30 x 18 are cut, as 'VAE Encode' does: vae takes multiples of 8 pixels.\n"
        "The last 3 are left out: clips have 4n+1 frames.",
    )


def test_what_the_video_does_not_have_is_refused_before_anything_is_encoded(vae, tmp_path, monkeypatch):
    video = video_file(tmp_path / "a.mp4", frames=20)
    for inputs, message in (
        ({"length": 30}, "length 30 is not 4n.1: use 29 or 33"),
        ({"length": 21}, "length is 21, video has 20 frames from start_frame 0 on: use 17 or less"),
        ({"start_frame": 4, "length": 17}, "length is 17, video has 16 frames from start_frame 4 on: use 13 or less"),
        ({"start_frame": 20}, "start_frame is 20, video has 20 frames: use 0 to 19"),
    ):
        with pytest.raises(ValueError, match=message):
            run(SkyCanvasEncodeVideo, video=video, vae=Forbidden(vae), **inputs)
    with pytest.raises(ValueError, match="video is 4 x 16 pixels: vae takes 8 x 8 or more"):
        run(SkyCanvasEncodeVideo, video=video_file(tmp_path / "b.mp4", size=(4, 16)), vae=Forbidden(vae))
    monkeypatch.setattr(streaming, "MOST_PIXELS", 24 * 16 - 1)
    with pytest.raises(ValueError, match="video is 24 x 16 pixels: use at most 16384 along a side, and 383 in all"):
        run(SkyCanvasEncodeVideo, video=video, vae=Forbidden(vae))


def test_length_of_a_file_that_does_not_say_it(vae, tmp_path, monkeypatch):
    """It is found at the end."""
    video = video_file(tmp_path / "a.mkv", frames=20)
    with pytest.raises(ValueError, match="length is 21, video has 20 frames from start_frame 0 on: use 17 or less"):
        run(SkyCanvasEncodeVideo, video=video, vae=vae, length=21)
    with pytest.raises(ValueError, match="start_frame is 99, video has 20 frames: use 0 to 19"):
        run(SkyCanvasEncodeVideo, video=video, vae=vae, start_frame=99)
    monkeypatch.setattr(streaming, "MAX_FRAMES", 12)
    for name in ("a.mkv", "a.mp4"):
        video = video_file(tmp_path / name, frames=20)
        with pytest.raises(ValueError, match="video has more than 12 frames: set length, and encode it in parts"):
            run(SkyCanvasEncodeVideo, video=video, vae=vae)
        assert run(SkyCanvasEncodeVideo, video=video, vae=vae, start_frame=10, length=9)[0]["samples"].shape[2] == 3


def test_endless_sound_is_refused(vae, tmp_path, monkeypatch):
    video = video_file(tmp_path / "a.mp4", audio=sound(3.0, channels=2))
    monkeypatch.setattr(streaming, "MOST_SECONDS", 2)
    with pytest.raises(ValueError, match="video has more than 2 seconds of sound: set length"):
        run(SkyCanvasEncodeVideo, video=video, vae=vae)
    assert run(SkyCanvasEncodeVideo, video=video, vae=vae, length=17)[1]["waveform"].shape[2] == round(17 / 16 * 44100)


def test_broken_files(vae, tmp_path):
    for name, size in (("a.ts", (24, 16)), ("b.ts", (64, 48))):
        video_file(tmp_path / name, size=size, format="mpegts")
    (tmp_path / "c.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with pytest.raises(ValueError, match="video changes from 24 x 16 pixels at frame 17: trim it there"):
        run(SkyCanvasEncodeVideo, video=InputImpl.VideoFromFile(str(tmp_path / "c.ts")), vae=vae)
    video = video_file(tmp_path / "a.mov", codec="png", pixels="rgb24")
    content = (tmp_path / "a.mov").read_bytes()
    pictures = content.split(b"\x89PNG")
    pictures[4] = bytes(len(pictures[4]))
    (tmp_path / "a.mov").write_bytes(b"\x89PNG".join(pictures))
    with pytest.raises(ValueError, match="video cannot be read after frame 3: "):
        run(SkyCanvasEncodeVideo, video=video, vae=vae)


def test_there_and_back_again(vae, output):
    latent = vae.encode(torch.nn.functional.interpolate(noise(69, 3, 2, 3), (16, 24), mode="bilinear").movedim(1, -1))
    samples, audio = {"samples": latent, "frame_rate": 24.0}, sound(69 / 24)
    (video,) = run(SkyCanvasDecodeToFile, samples=samples, vae=vae, audio=audio, crf=0.0)
    again, heard, fps = run(SkyCanvasEncodeVideo, video=video, vae=vae)
    assert again["samples"].shape == latent.shape and fps == again["frame_rate"] == 24
    assert (again["samples"] - latent).pow(2).mean() < 0.1 * latent.var()
    assert heard["waveform"].shape[2] >= audio["waveform"].shape[2]
