"""Low-rank adapters, and fine-tuning on a folder of clips, at a tiny size."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.finetuning import write_clip
from models.checkpoint import read_checkpoint
from models.config import ArchitectureError
from training import clips
from training import finetune as training
from training.clips import ENOUGH, Stretches, hold_out
from training.curation.manifest import Entry, Manifest
from training.finetune import FineTuning, Settings, finetune, load_network, main, summary
from training.lora import LowRank, add_lora, lora_tensors, merge_lora

sys.path.append(str(Path(__file__).parents[1]))
from tiny_mini import write_tiny_mini  # noqa: E402

SECONDS = 10 / 16  # of every clip: ten frames


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    return write_tiny_mini(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four clips of noise, with captions, and a manifest of them."""
    path = tmp_path_factory.mktemp("clips")
    generator = torch.Generator().manual_seed(1)
    for i in range(4):
        video = torch.rand(3, 10, 32, 32, generator=generator) * 2 - 1
        sound = torch.rand(1, round(SECONDS * 44100), generator=generator) - 0.5
        write_clip(path / f"{i}.mp4", video, sound)
    captions = ("a red circle", "a blue wyvern", "a red square", "")
    entries = tuple(Entry(f"{i}.mp4", 0.0, SECONDS, caption) for i, caption in enumerate(captions))
    Manifest(path, entries, ()).save(path / "manifest.json")
    return path


@pytest.fixture
def settings(mini, folder, tmp_path):
    return Settings(
        folder,
        tmp_path / "my_lora.safetensors",
        manifest=folder / "manifest.json",
        model=mini.model,
        text_encoder=mini.text_encoder,
        video_vae=mini.video_vae,
        audio_vae=mini.audio_vae,
        rank=2,
        steps=4,
        frames=5,
        size=(32, 32),
        batch=2,
    )


def randomise(adapters, generator):
    """As if they had been trained."""
    for adapter in adapters.values():
        nn.init.normal_(adapter.lora_B.weight, std=0.1, generator=generator)


# -- adapters ----------------------------------------------------------------------------------------------------------


class Layers(nn.Module):
    """Every kind of layer that takes an adapter, and one that does not."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 6), nn.LayerNorm(6)
        self.conv1d = nn.Conv1d(6, 4, 3, padding=1)
        self.conv2d = nn.Conv2d(1, 4, 2, stride=2)

    def forward(self, x):
        x = self.conv1d(self.norm(self.linear(x)).mT)
        return self.conv2d(x[:, None])


def test_a_fresh_adapter_changes_nothing_and_a_merged_one_is_the_same_network(g):
    x, model = torch.randn(3, 8, 5, generator=g), Layers()
    before = model(x)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapters = add_lora(model, rank=2, alpha=3.0, layers=["*"], generator=g)
    assert list(adapters) == ["linear", "conv1d", "conv2d"]
    assert torch.equal(model(x), before)
    randomise(adapters, g)
    assert (model(x) - before).abs().max() > 0.01

    merged, tensors = Layers(), lora_tensors(adapters)
    merged.load_state_dict(weights)
    merge_lora(merged, tensors)
    torch.testing.assert_close(merged(x), model(x))
    product = tensors["diffusion_model.linear.lora_B.weight"] @ tensors["diffusion_model.linear.lora_A.weight"]
    torch.testing.assert_close(merged.linear.weight, weights["linear.weight"] + 1.5 * product)
    half = Layers()
    half.load_state_dict(weights)
    merge_lora(half, tensors, strength=0.5)
    torch.testing.assert_close(half.linear.weight, weights["linear.weight"] + 0.75 * product)


def test_adapters_alone_learn(g):
    model = Layers()
    adapters = add_lora(model, rank=1, alpha=1.0, layers=["conv*"], generator=g)
    model(torch.randn(1, 8, 5, generator=g)).sum().backward()
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {f"conv{d}d.lora_{x}.weight" for d in (1, 2) for x in "AB"}
    assert all(p.grad is None for name, p in model.named_parameters() if name not in learning)
    assert all(adapter.lora_B.weight.grad.abs().sum() > 0 for adapter in adapters.values())


def test_attention_and_mlp_of_all_blocks_by_default(mini, g):
    network, _, _ = load_network(mini.model)
    adapters = add_lora(network, rank=2, alpha=2.0, generator=g)
    assert all(name.startswith(("dual_blocks.", "single_blocks.")) for name in adapters)
    for layer in ("attention.qkv", "attention_out", "mlp_in", "mlp_out", "text_to_video.q", "audio_to_video.kv"):
        assert any(name.endswith(layer) for name in adapters), layer
    assert isinstance(network.single_blocks[0].video.both.mlp_in, LowRank)


def test_errors_of_adapters(mini, g):
    network, _, _ = load_network(mini.model)
    with pytest.raises(ValueError, match=r"no layer's name fits transformer\.\*; there are .*attention\.qkv"):
        add_lora(network, rank=2, alpha=2.0, layers=["transformer.*"], generator=g)
    for rank in (0, 33):
        with pytest.raises(ValueError, match=rf"rank {rank} is not from 1 to 32, the width of layer dual_blocks"):
            add_lora(network, rank=rank, alpha=2.0, generator=g)


def test_a_lora_of_another_architecture_is_refused_whole(g):
    adapters = add_lora(Layers(), rank=2, alpha=2.0, layers=["*"], generator=g)
    randomise(adapters, g)
    model, tensors = Layers(), lora_tensors(adapters)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, tensor, message in (
        ("diffusion_model.other.lora_A.weight", torch.zeros(2, 5), "'diffusion_model.other.lora_A.weight' .* no layer"),
        ("diffusion_model.conv2d.lora_A.weight", torch.zeros(2, 9, 2, 2), r"a layer of \[4, 9, 2, 2\], this one has"),
    ):
        with pytest.raises(ValueError, match=message):
            merge_lora(model, tensors | {name: tensor})
    del tensors["diffusion_model.conv2d.alpha"]
    with pytest.raises(ValueError, match="no partner"):
        merge_lora(model, tensors)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


# -- clips -------------------------------------------------------------------------------------------------------------


def test_stretches():
    cut = Stretches(frames=17, frame_rate=16.0, size=(64, 64))
    assert cut.of(Entry("a.mp4", 2.0, 1.0, "")) == []  # 16 frames
    whole = Entry("a.mp4", 2.0, 17 / 16, "", weight=3.0)
    assert cut.of(whole) == [whole]
    three = cut.of(Entry("a.mp4", 2.0, 4.0, "", weight=3.0))
    assert [stretch.weight for stretch in three] == [1.0] * 3
    assert three[0].start == 2.0 and three[-1].start + three[-1].duration == pytest.approx(6.0)
    assert len(cut.of(Entry("a.mp4", 0.0, 600.0, ""))) == 8


def test_whole_files_are_held_out():
    entries = [Entry(f"{i}.mp4", start, 1.0, "") for i in range(20) for start in (0.0, 1.0)]
    assert len(hold_out(entries, seed=0)) == 3 and hold_out(entries, seed=0) == hold_out(entries, seed=0)
    assert hold_out(entries, seed=0) != hold_out(entries, seed=1)
    assert hold_out(entries[: 2 * ENOUGH - 2], seed=0) == set() and len(hold_out(entries[: 2 * ENOUGH], seed=0)) == 1


# -- fine-tuning -------------------------------------------------------------------------------------------------------


def weights_of(run):
    return {name: p.detach().clone() for name, p in run.learning.items()}


def steps(settings, count):
    """A run without its report, as far as it got before it was killed."""
    run = FineTuning(settings, report=lambda line: None)
    run.resume()
    for _ in range(count):
        run.train_step()
    run.save()
    return run


@pytest.mark.parametrize("full", [False, True])
def test_a_resumed_run_equals_an_unbroken_one(settings, full):
    settings = replace(settings, full=full)
    whole = steps(replace(settings, out=settings.out.with_name("whole.safetensors")), 4)
    first = steps(settings, 2)
    second = steps(settings, 2)
    assert first.step == 2 and second.step == 4
    for name, weight in weights_of(whole).items():
        assert torch.equal(weight, second.learning[name]), name
    start = FineTuning(replace(settings, out=settings.out.with_name("new.safetensors")), report=lambda line: None)
    assert any(not torch.equal(weight, start.learning[name]) for name, weight in weights_of(second).items())


def test_the_lora_file_merges_into_the_network_that_was_trained(settings, mini):
    lines = []
    run = finetune(settings, report=lines.append, report_every=0)
    with safe_open(settings.out, "pt") as file:
        facts = file.metadata()
    assert facts["architecture"] == "skyreels-v4-mmdit lora" and facts["rank"] == facts["alpha"] == "2"
    assert facts["base_model"] == "mini.safetensors" and len(facts["base_model_digest"]) == 16
    assert json.loads(facts["words"]) == ["a", "blue", "circle", "red", "square", "wyvern"]
    assert json.loads(facts["loss_before"]).keys() == {"held out", "trained on"}

    text = "\n".join(lines)
    assert "1 of 4 clips have no caption" in text and text.count("wyvern") == 1
    assert "6 stretches of 5 frames, 2 more are held out" in text and "video loss of 1 files held out: base" in text
    log = [json.loads(line) for line in (settings.work / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [1, 2, 3, 4] and all(entry["video"] > 0 for entry in log)

    # The losses that were noted are those of the base model and of the one with merged weights.
    base = FineTuning(replace(settings, out=settings.out.with_name("other.safetensors")), report=lambda line: None)
    assert base.measure() == run.before
    plain, _, _ = load_network(mini.model)
    merge_lora(plain, load_file(settings.out))
    base.network = plain
    after = json.loads(facts["loss_after"])
    assert torch.tensor(base.measure()["held out"]).allclose(torch.tensor(after["held out"]), atol=1e-4)
    assert after != run.before


def test_a_full_checkpoint_keeps_what_the_file_had(settings, mini, tmp_path):
    tensors, metadata = read_checkpoint(mini.model)
    saved = {f"model.diffusion_model.{name}": tensor.half() for name, tensor in tensors.items()}  # as Save Model does
    model = tmp_path / "saved.safetensors"
    save_file(saved | {"model.diffusion_model.sampling_shift": torch.tensor(3.0)}, model, metadata)
    run = finetune(replace(settings, model=model, full=True), report=lambda line: None)
    result, facts = read_checkpoint(settings.out)
    assert result.keys() == saved.keys() | {"model.diffusion_model.sampling_shift"}
    assert facts["sampling_shift"] == "2.5" and facts["finetuning_base_model"] == "saved.safetensors"
    trained, _, _ = load_network(settings.out)
    for name, parameter in trained.named_parameters():
        assert torch.equal(parameter, run.learning[name].half().float()), name
    assert torch.equal(trained.video_latent_std, tensors["video_latent_std"].half().float())
    assert not torch.equal(trained.text_in.weight, tensors["text_in.weight"].half().float())


def test_recomputed_activations_give_the_same_step(settings):
    plain = steps(settings, 1)
    other = steps(replace(settings, recompute=True, out=settings.out.with_name("other.safetensors")), 1)
    for name, weight in weights_of(plain).items():
        torch.testing.assert_close(other.learning[name], weight)


def test_encoded_clips_are_read_again(settings, monkeypatch):
    first = FineTuning(settings, report=lambda line: None).clips
    files = sorted((settings.work / "clips").iterdir())
    assert len(files) == 8 and all(file.suffix == ".latents" for file in files)
    files[0].unlink()
    read, encoded = clips.read_clip, []
    monkeypatch.setattr(clips, "read_clip", lambda *a, **k: encoded.append(a) or read(*a, **k))
    second = FineTuning(settings, report=lambda line: None).clips
    assert len(encoded) == 1 and torch.equal(first.video, second.video) and torch.equal(first.audio, second.audio)
    assert first.digest == second.digest


def test_minutes_end_a_run_too(settings, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(next(clock)))
    run = finetune(replace(settings, steps=None, minutes=0.05), report=lambda line: None)
    assert run.step == 3  # of one second each


def test_a_loss_that_explodes_ends_the_run(settings):
    run = FineTuning(settings, report=lambda line: None)
    run.clips.video = torch.full_like(run.clips.video, float("nan"))
    with pytest.raises(ValueError, match="the loss is nan at step 0: choose a lower --learning-rate"):
        run.train_step()


def test_the_report():
    before = {"held out": [[1.0, 0.5], [2.0, 0.5]], "trained on": [[1.0, 1.0]]}
    after = {"held out": [[0.5, 0.5], [1.0, 0.7]], "trained on": [[0.5, 1.0]]}
    lines = summary(before, after)
    assert lines[0] == "video loss of 2 files held out: base 1.5000, fine-tuned 0.7500, change -0.7500 +- 0.2500"
    assert lines[2] == "video loss of 1 files trained on: base 1.0000, fine-tuned 0.5000, change -0.5000"
    assert (
        summary({"held out": [], "trained on": [[1.0, 1.0]]}, after)[0] == "no file is held out: that takes 4 of them"
    )


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frames": 16}, "--frames 16 is not 4n.1: use 13 or 17"),
        ({"frames": 0}, "--frames 0 is not 4n.1: use 1 or 5"),
        ({"out": Path("lora.pt")}, "--out lora.pt does not end in .safetensors"),
        ({"out": training.WEIGHTS / "mini.safetensors"}, "mini.safetensors would overwrite a file that is trained on"),
        ({"batch": 0}, "--batch 0 is not above 0"),
        ({"learning_rate": float("nan")}, "--learning-rate nan is not above 0"),
        ({"frame_rate": 0.0}, "--frame-rate 0 is not from 1 to 120"),
    ],
)
def test_settings_are_checked_before_anything_is_read(change, message):
    with pytest.raises(ValueError, match=message):
        Settings(**{"folder": Path("none"), "out": Path("lora.safetensors")} | change)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"size": (32, 40)}, "--size: height 40 is not a multiple of 16: use 32 or 48"),
        ({"size": (8, 32)}, "--size: width 8 is not a multiple of 16: use 16"),
        ({"folder": Path("nowhere")}, "nowhere is no folder"),
        ({"frames": 21}, r"none of the 4 clips lasts 1\.31 s \(21 frames at 16 per second\), the longest 0\.62 s"),
        ({"rank": 64}, "rank 64 is not from 1 to 32"),
    ],
)
def test_what_does_not_fit_is_said(settings, change, message):
    with pytest.raises(ValueError, match=message):
        FineTuning(replace(settings, **change), report=lambda line: None)


def test_files_of_another_architecture(settings, mini, tmp_path):
    tensors, _ = read_checkpoint(mini.model)
    path = tmp_path / "other.safetensors"
    for bad, message in (
        (
            {"blocks.0.weight": torch.zeros(2)},
            "other.safetensors cannot be fine-tuned: tensor 'video_latent_mean' is mis",
        ),
        (tensors | {"audio_out.bias": torch.zeros(3)}, r"tensor 'audio_out.bias' has shape \[3\], expected \[12\]"),
        ({name: t for name, t in tensors.items() if name != "text_in.bias"}, "tensor 'text_in.bias' is missing"),
    ):
        save_file(bad, path)
        with pytest.raises(ArchitectureError, match=message):
            load_network(path)
    save_file(tensors | {"text_in.weight": tensors["text_in.weight"].to(torch.float8_e4m3fn)}, path)
    with pytest.raises(ValueError, match="other.safetensors is quantised .*text_in.weight"):
        load_network(path)
    weights = Path(__file__).parents[2] / "models" / "weights"
    with pytest.raises(
        ValueError, match=r"mini_video_vae.safetensors gives 8 latent channels, mini.safetensors takes 4"
    ):
        FineTuning(replace(settings, video_vae=weights / "mini_video_vae.safetensors"))


def test_captions(settings, folder, tmp_path):
    def with_captions(*captions):
        entries = tuple(Entry(f"{i}.mp4", 0.0, SECONDS, caption) for i, caption in enumerate(captions))
        Manifest(folder, entries, ()).save(tmp_path / "captions.json")
        return replace(settings, manifest=tmp_path / "captions.json")

    with pytest.raises(ValueError, match="none of the 2 clips has a caption: .* 0.mp4 into 0.txt .*--without-captions"):
        FineTuning(with_captions("", " "))
    lines = []
    FineTuning(replace(with_captions("", ""), without_captions=True), report=lines.append)
    assert any("2 of 2 clips have no caption" in line for line in lines)
    with pytest.raises(ValueError, match="caption of 1.mp4: prompt has 300 words"):
        FineTuning(with_captions("a red circle", "red " * 300))


def test_a_folder_without_clips(settings, tmp_path, folder):
    Manifest(folder, (), ((Entry("0.mp4", 0.0, 1.0, ""), "too dark"),)).save(tmp_path / "empty.json")
    with pytest.raises(ValueError, match="empty.json keeps no clip: curate the folder"):
        FineTuning(replace(settings, manifest=tmp_path / "empty.json"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no videos"):
        FineTuning(replace(settings, manifest=None, folder=tmp_path / "empty"))


def test_a_run_with_other_settings_is_not_gone_on_with(settings):
    steps(settings, 1)
    with pytest.raises(ValueError, match=r"my_lora.work holds a run with another rank \(2, now 3\): delete"):
        steps(replace(settings, rank=3), 1)


def test_the_command_line_says_errors_in_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match="error: --frames 18 is not 4n.1: use 17 or 21"):
        main([str(tmp_path), "--out", str(tmp_path / "x.safetensors"), "--frames", "18"])
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--out", str(tmp_path / "x.safetensors"), "--size", "64"])
