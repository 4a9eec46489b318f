"""SkyReels-V4 as a native ComfyUI MODEL.

Stock samplers, schedulers, guiders, LoRA loaders and model patches work on it, because nothing of them is replaced:
the joint latent is a NestedTensor (video [B, C, T, H, W], audio [B, Ca, L]), which ComfyUI packs to [B, 1, N] while it
samples; audio alone is a plain [B, Ca, L]. A checkpoint that makes keyframes takes them as a third stream
[B, C, K, sH, sW]: K pictures, each of one frame of the video, of any size. Conditioning keys that are read, beside the
prompt and its `pooled_output`:

    frame_rate               frames per second; LTXVConditioning sets it. Default: see `frame_rate_of`
    skycanvas_condition      video latent of what is given, as the VAE emits it [B, C, T, H, W]   (eq. 7)
    skycanvas_mask           [B, 1, T, H, W], 1 = given                                           (eq. 7)
    skycanvas_video_context  references and patches: [{"latent": [B, C, t, H, W], "times": t floats or None}] (eq. 8-9)
    skycanvas_audio_context  voices and sounds: [{"latent": [B, Ca, l], "times": l floats}]
    skycanvas_keyframes      tuple of the pixel frames whose pictures the third stream holds, one for each
    skycanvas_latent_shapes  shapes of the streams of a latent that is packed already, for TrainLoraNode

LoRA files may name weights as PEFT does (`diffusion_model.<module>.lora_A.weight`), as `lora_up`/`lora_down` with the
same prefix, or as kohya does (`lora_unet_<module with _>`). ComfyUI ignores other prefixes, with a line in its log.
"""

import json
import math
from collections.abc import Sequence
from functools import partial

import comfy.conds
import comfy.context_windows
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_prefetch
import comfy.patcher_extension
import comfy.supported_models_base
import comfy.utils
import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor

from ..models.blocks import Streams
from ..models.config import ArchitectureError, MMDiTConfig
from ..models.mmdit import AUDIO_LATENT_RATE, TEMPORAL_SCALE, TIMESTEP_SCALE, Keyframes, MMDiT
from .latent_format import JointLatentFormat, Shapes, Statistics, VideoLatentFormat
from .loading import naming, read_checkpoint
from .preview import with_sound

FRAME_RATE = 16.0  # frames per second that the model is trained at
SAMPLING_SHIFT = 2.0  # of the noise schedule, for checkpoints that do not say
CHECKPOINT_PREFIX = "model.diffusion_model."  # ModelSave and CheckpointSave put it before every name


# --- the network


class DiffusionModel(MMDiT):
    """MMDiT behind ComfyUI's contract for diffusion models: its attention, casting, block patches and wrappers."""

    def __init__(self, config: MMDiTConfig, *, operations, dtype=None, device=None):
        super().__init__(config, operations=operations, dtype=dtype, device=device)
        self.in_channels = config.video_channels  # RenormCFG reads it

    def forward(self, x, timestep, context, *, transformer_options, control=None, **conditions):
        """x: the streams that are made, as `streams_of` names them; timestep: [B], or as `process_timestep` gives it.

        Returns their velocities, or that of a stream alone as it is: ComfyUI packs only lists of several again.
        """
        wrappers = comfy.patcher_extension.get_all_wrappers(
            comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, transformer_options
        )
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self._velocity, self, wrappers)
        return executor.execute(x, timestep, context, transformer_options, **conditions)

    def _velocity(
        self,
        x,
        timestep,
        context,
        transformer_options,
        *,
        frame_rate,
        video_context=(),
        video_context_times=(),
        audio_context=(),
        audio_context_times=(),
        keyframe_times=(),
        pooled=None,
        condition=None,
        mask=None,
        **_,
    ):
        names = streams_of(self.config, len(x))
        streams = dict(zip(names, x, strict=True))
        each = timestep if isinstance(timestep, tuple) else (timestep,) * len(x)
        timesteps = dict(zip(names, each, strict=True))
        keyframes = None
        if "keyframes" in streams:
            keyframes = Keyframes(streams["keyframes"], keyframe_times, timesteps["keyframes"])
        blocks = BlockRunner(self, context.device, transformer_options)
        velocities = super().forward(
            streams.get("video"),
            streams.get("audio"),
            each[0],
            context,
            pooled=pooled,
            audio_timestep=timesteps.get("audio"),
            condition=condition,
            mask=mask,
            video_context=tuple(zip(video_context, video_context_times, strict=True)),
            audio_context=tuple(zip(audio_context, audio_context_times, strict=True)),
            keyframes=keyframes,
            frame_rate=frame_rate,
            cross_modal=not transformer_options.get("skycanvas_isolated", False),
            attention=partial(_attention, transformer_options=transformer_options),
            run_block=blocks.run,
        )
        blocks.finish()
        made = [velocity for velocity in velocities if velocity is not None]
        return made if len(made) > 1 else made[0]


def _attention(q: Tensor, k: Tensor, v: Tensor, transformer_options: dict) -> Tensor:
    """ComfyUI's kernel for this machine, or the one that a node put in its place. [B, heads, N, head_dim] each"""
    return optimized_attention(
        q, k, v, q.shape[1], skip_reshape=True, skip_output_reshape=True, transformer_options=transformer_options
    )


class BlockRunner:
    """Runs the blocks of one forward pass: fetches offloaded weights ahead and lets nodes replace single blocks.

    Dual-stream blocks are ("double_block", i), single-stream blocks ("single_block", i), each counted from 0.
    """

    def __init__(self, model: DiffusionModel, device: torch.device, transformer_options: dict):
        self.dual_blocks, self.device, self.options = model.config.dual_blocks, device, transformer_options
        self.replacements = transformer_options.get("patches_replace", {}).get("dit", {})
        blocks = [*model.dual_blocks, *model.single_blocks]
        self.queue = comfy.model_prefetch.make_prefetch_queue(blocks, device, transformer_options)
        transformer_options["total_blocks"] = len(blocks)

    def run(self, index: int, block, streams: Streams) -> Streams:
        comfy.model_prefetch.prefetch_queue_pop(self.queue, self.device, block)
        kind, place = ("double", index) if index < self.dual_blocks else ("single", index - self.dual_blocks)
        self.options.update(block_type=kind, block_index=index)
        replacement = self.replacements.get((f"{kind}_block", place))
        if replacement is None:
            return block(streams)

        def original_block(args):
            return _arguments(block(_streams(args)), args["transformer_options"])

        return _streams(replacement(_arguments(streams, self.options), {"original_block": original_block}))

    def finish(self) -> None:
        comfy.model_prefetch.prefetch_queue_pop(self.queue, self.device, None)


def _arguments(streams: Streams, transformer_options: dict) -> dict:
    """What a replacement of a block gets and gives: ComfyUI's names for the video, our own for the audio."""
    return {
        "img": streams.video,
        "txt": streams.video_text,
        "audio": streams.audio,
        "audio_txt": streams.audio_text,
        "transformer_options": transformer_options,
    }


def _streams(args: dict) -> Streams:
    return Streams(args["img"], args["txt"], args["audio"], args["audio_txt"])


# --- the model


def streams_of(config: MMDiTConfig, count: int) -> tuple[str, ...]:
    """Names of the streams of a latent that has so many: a single one is the sound, or the picture of a Refiner."""
    if count > 1:
        return ("video", "audio", "keyframes")[:count]
    return ("audio",) if config.audio_channels else ("video",)


def frame_count(latent_frames: int) -> int:
    """Pixel frames of that many latent frames: the first stands alone, each later one for four."""
    return 1 + TEMPORAL_SCALE * (latent_frames - 1)


def frame_rate_of(shapes: Shapes) -> float:
    """Frame rate of a joint latent for which nobody names one.

    FRAME_RATE, if the sound then lasts as long as the picture; else the rate at which both last equally long.
    """
    if len(shapes) == 1:
        return FRAME_RATE
    frames, audio_latents = frame_count(shapes[0][2]), shapes[1][2]
    usual = math.ceil(frames / FRAME_RATE * AUDIO_LATENT_RATE)
    return FRAME_RATE if audio_latents == usual else frames * AUDIO_LATENT_RATE / audio_latents


class SkyReelsV4(comfy.model_base.BaseModel):
    """Prepares latents, conditioning and masks for the network; see the head of this file."""

    def __init__(self, model_config: "SkyReelsV4Config", device=None):
        super().__init__(model_config, comfy.model_base.ModelType.FLOW, device=device, unet_model=DiffusionModel)
        self.memory_usage_factor_conds = ("video_context", "audio_context")
        self.latent_shapes: Shapes | None = None  # of the latent being sampled; set by `_remember_shapes`
        self.keyframes: tuple[int, ...] = ()  # pixel frames of its keyframes; likewise

    @property
    def config(self) -> MMDiTConfig:
        return self.diffusion_model.config

    def state_dict_for_saving(self, unet_state_dict: dict[str, Tensor], *others, **more) -> dict[str, Tensor]:
        """ModelSave keeps no metadata, so what else a checkpoint says about itself is saved as tensors."""
        unet_state_dict["sampling_shift"] = torch.tensor(self.model_config.sampling_settings["shift"])
        if self.latent_format.latent_rgb_factors is not None:
            unet_state_dict["latent_rgb_factors"] = torch.tensor(self.latent_format.preview())
        return super().state_dict_for_saving(unet_state_dict, *others, **more)

    def process_latent_in(self, latent):
        return self.latent_format.process_in(latent, self.latent_shapes)

    def process_latent_out(self, latent):
        return self.latent_format.process_out(latent, self.latent_shapes)

    def extra_conds(self, **given) -> dict[str, comfy.conds.CONDRegular]:
        shapes = self.latent_shapes or given["latent_shapes"]
        conds: dict[str, comfy.conds.CONDRegular] = {
            "latent_shapes": comfy.conds.CONDConstant(shapes),
            "frame_rate": comfy.conds.CONDConstant(float(given.get("frame_rate") or frame_rate_of(shapes))),
        }
        conds |= self._text(given)
        streams = streams_of(self.config, len(shapes))
        if given.get("denoise_mask") is not None:
            mask = given["denoise_mask"]
            masks = comfy.utils.unpack_latents(mask, shapes) if len(shapes) > 1 else [mask]
            conds |= {
                f"{stream}_noise_mask": comfy.conds.CONDRegular(mask[:, :1])
                for stream, mask in zip(streams, masks, strict=True)
            }
        if "video" in streams:
            conds |= self._given_video(given, shapes[0])
        if "keyframes" in streams:
            times = tuple(frame / TEMPORAL_SCALE for frame in given["skycanvas_keyframes"])
            conds["keyframe_times"] = comfy.conds.CONDConstant(times)
        for stream in streams[:2]:
            conds |= self._context(stream, given)
        return conds

    def _text(self, given: dict) -> dict[str, comfy.conds.CONDRegular]:
        text, pooled = given.get("cross_attn"), given.get("pooled_output")
        if text is None or text.shape[-1] != self.config.text_dim:
            width = "no text" if text is None else f"text of width {text.shape[-1]}"
            raise ValueError(f"conditioning has {width}, this model reads {self.config.text_dim}: use its own CLIP")
        conds = {"c_crossattn": comfy.conds.CONDRegular(text)}
        if self.config.pooled_dim:
            if pooled is None or pooled.shape[-1] != self.config.pooled_dim:
                raise ValueError(
                    f"conditioning has no pooled text of width {self.config.pooled_dim}: use the model's own CLIP"
                )
            conds["pooled"] = comfy.conds.CONDRegular(pooled)
        return conds

    def _given_video(self, given: dict, shape) -> dict[str, comfy.conds.CONDRegular]:
        """Channel concat (eq. 7): the latent of what is given and where it is."""
        if given.get("skycanvas_condition") is None:
            if self.config.refines:
                raise ValueError(
                    "a Refiner needs the clip that it shall refine: put 'Refine Clip' before the sampler, and connect "
                    "its model, positive, negative and latent"
                )
            return {}
        condition, mask = (given[f"skycanvas_{name}"].to(given["device"]) for name in ("condition", "mask"))
        for name, tensor in (("skycanvas_condition", condition), ("skycanvas_mask", mask)):
            if tuple(tensor.shape[2:]) != tuple(shape[2:]):
                raise ValueError(
                    f"{name} covers {list(tensor.shape[2:])} latent frames, rows and columns, "
                    f"the latent to be made has {list(shape[2:])}: make both for the same length and size"
                )
        condition = self.latent_format.video.normalise(condition)
        return {"condition": comfy.conds.CONDRegular(condition), "mask": comfy.conds.CONDRegular(mask)}

    def _context(self, stream: str, given: dict) -> dict[str, comfy.conds.CONDRegular]:
        """In-context tokens (eq. 8-9). Times go as a tuple, which ComfyUI does not cast to half precision."""
        entries = given.get(f"skycanvas_{stream}_context")
        if not entries:
            return {}
        normalise = getattr(self.latent_format, stream).normalise
        latents = [normalise(entry["latent"].to(given["device"])) for entry in entries]
        times = tuple(entry["times"] and tuple(map(float, entry["times"])) for entry in entries)
        return {
            f"{stream}_context": comfy.conds.CONDList(latents),
            f"{stream}_context_times": comfy.conds.CONDConstant(times),
        }

    def extra_conds_shapes(self, **given) -> dict[str, list[int]]:
        """In-context latents, counted as the latent is that is sampled: the memory estimate needs them."""
        cell = 1 if self.config.audio_channels else self.config.video_channels  # a pack has channels in its length
        counts = {
            stream: sum(entry["latent"].numel() for entry in given.get(f"skycanvas_{stream}_context") or ())
            for stream in ("video", "audio")
        }
        return {f"{stream}_context": [1, 1, count // cell] for stream, count in counts.items() if count}

    # --- masks: what is kept stays clean, and its tokens know that they are

    def scale_latent_inpaint(self, latent_image, **_):
        return latent_image

    def process_timestep(
        self,
        timestep: Tensor,
        video_noise_mask=None,
        audio_noise_mask=None,
        keyframes_noise_mask=None,
        noise_levels=None,
        **_,
    ):
        """timestep [B] -> one per token and per keyframe, scaled by the noise mask (1 = made anew, 0 = kept).

        noise_levels: sigmas of the latent frames [B, T], of the audio latents [B, L] and of the keyframes [B, K], if
        each has its own (wave.py).
        """
        if noise_levels is not None:
            timestep = torch.full_like(timestep, TIMESTEP_SCALE)
            masks = [video_noise_mask, audio_noise_mask, keyframes_noise_mask]
            for i, levels in enumerate(noise_levels):
                levels = levels[:, None] if i == 1 else levels[:, None, :, None, None]
                masks[i] = levels if masks[i] is None else levels * masks[i]
            video_noise_mask, audio_noise_mask, keyframes_noise_mask = masks
        video, audio = self.config.video_patch, self.config.audio_patch  # a token is as noisy as its noisiest latent
        levels = []
        if video_noise_mask is not None:
            mask = F.max_pool3d(video_noise_mask.float(), (1, video, video), ceil_mode=True)[:, 0]
            levels.append(timestep[:, None, None, None] * mask)
        if audio_noise_mask is not None:
            levels.append(timestep[:, None] * F.max_pool1d(audio_noise_mask.float(), audio, ceil_mode=True)[:, 0])
        if keyframes_noise_mask is not None:
            levels.append(timestep[:, None] * keyframes_noise_mask.float().amax((1, 3, 4)))
        return tuple(levels) if len(levels) > 1 else levels[0] if levels else timestep

    # --- context windows (ContextWindowsManual with dim 2, which is time in all streams)

    def map_context_window_to_modalities(self, primary_indices: list[int], latent_shapes: Shapes, dim: int):
        """Audio latents that sound while the video latents of a window are on screen, and the keyframes among these.

        ValueError for a window without a keyframe where there are any: ComfyUI cannot leave a stream out.
        """
        frames, count = frame_count(latent_shapes[0][dim]), latent_shapes[1][dim]
        audio: dict[int, None] = {}
        for index in primary_indices:
            first, end = frame_count(index) if index else 0, frame_count(index + 1)
            audio.update(dict.fromkeys(range(first * count // frames, math.ceil(end * count / frames))))
        if len(latent_shapes) < 3:
            return [primary_indices, list(audio)]
        places = [math.ceil(frame / TEMPORAL_SCALE) for frame in self.keyframes]
        keyframes = [i for i, place in enumerate(places) if place in primary_indices]
        if not keyframes:
            first, end = max(frame_count(min(primary_indices)), 0), frame_count(max(primary_indices) + 1)
            raise ValueError(
                f"a context window over frames {first} to {end - 1} has no keyframe, and each must have one: name a "
                "frame there in 'Add Keyframes', or make the windows longer"
            )
        return [primary_indices, list(audio), keyframes]

    def resize_cond_for_context_window(self, cond_key, cond_value, window, x_in, device, retain_index_list=()):
        if cond_key in ("condition", "mask", "video_noise_mask"):
            sliced = window.get_tensor(cond_value.cond, device, dim=2, retain_index_list=retain_index_list)
        elif cond_key == "audio_noise_mask":
            sliced = window.get_window_for_modality(1).get_tensor(cond_value.cond, device, dim=2)
        elif cond_key == "keyframes_noise_mask":
            sliced = window.get_window_for_modality(2).get_tensor(cond_value.cond, device, dim=2)
        elif cond_key == "keyframe_times":
            sliced = window_times(cond_value.cond, window)
        elif cond_key in ("video_context", "audio_context", "c_crossattn", "pooled"):
            return cond_value  # the same for every window
        else:
            return None
        return cond_value._copy_with(sliced)


def window_times(times: Sequence[float], window: comfy.context_windows.IndexListContextWindow) -> tuple[float, ...]:
    """Times of a context window's keyframes, counted in the window's own latent frames."""
    anchor = getattr(window, "causal_anchor_index", None)  # a frame that is put before the window
    places = {index: place for place, index in enumerate(window.index_list, start=anchor is not None)}
    kept = [times[i] for i in window.get_window_for_modality(2).index_list]
    return tuple(places[math.ceil(time)] + time - math.ceil(time) for time in kept)


def _remember_shapes(
    executor, noise, latent, sampler, sigmas, denoise_mask=None, callback=None, *sampling, latent_shapes: Shapes, **more
):
    """Sampling wrapper: latents are normalised as a flat pack, so the model has to know the shapes of what is in it,
    and so have previews.

    What the mask keeps comes out bit for bit: a sampler's steps and normalising would round it.
    """
    guider = executor.class_obj
    model = guider.model_patcher.model
    conditioning = [cond for conds in guider.conds.values() for cond in conds]
    shapes = checked_shapes(latent_shapes, conditioning, model.config)
    keyframes = checked_keyframes(shapes, conditioning) if len(shapes) > 2 else ()
    wrappers = guider.model_options.get("transformer_options", {}).get("wrappers", {})
    if len(shapes) != 2 and "easycache" in wrappers.get(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, {}):
        streams = ", ".join(streams_of(model.config, len(shapes)))
        raise ValueError(f"EasyCache needs picture and sound, and the latent has {streams}: take LazyCache, or none")
    model.latent_shapes, model.keyframes = shapes, keyframes
    try:
        callback = with_sound(callback, shapes)
        result = executor(
            noise, latent, sampler, sigmas, denoise_mask, callback, *sampling, latent_shapes=latent_shapes, **more
        )
    finally:
        model.latent_shapes, model.keyframes = None, ()
    return result if denoise_mask is None else torch.where(denoise_mask == 0, latent.to(result), result)


def checked_shapes(shapes: Shapes, conditioning: list[dict], config: MMDiTConfig) -> Shapes:
    """Shapes of the streams that are to be sampled; ValueError if this model has no such streams."""
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][1] == 1:
        named = [cond["skycanvas_latent_shapes"] for cond in conditioning if "skycanvas_latent_shapes" in cond]
        shapes = [torch.Size(shape) for shape in named[0]] if named else shapes
    streams = streams_of(config, len(shapes))
    if streams == ("video",) and len(shapes[0]) != 5 or not config.audio_channels and len(shapes) > 1:
        raise ValueError(
            "a Refiner makes the picture alone, and the latent is of picture and sound, or of a sound: put 'Refine "
            "Clip' before the sampler, and connect its model, positive, negative and latent"
        )
    if streams == ("audio",) and len(shapes[0]) != 3:
        raise ValueError(
            "SkyReels-V4 makes picture and sound together, but the latent has a picture alone, of "
            f"{shapes[0][-2]} x {shapes[0][-1]} cells. Connect 'Empty SkyCanvas Latent', or join it with the latent of "
            "a sound by 'Concat AV Latent'."
        )
    if "keyframes" in streams and not config.keyframes:
        raise ValueError(
            "the latent has keyframes, and this checkpoint was not trained to make them: leave out 'Add Keyframes', or "
            "load a model that makes them"
        )
    channels = {"video": config.video_channels, "audio": config.audio_channels, "keyframes": config.video_channels}
    for stream, shape in zip(streams, shapes, strict=True):
        if shape[1] != channels[stream]:
            raise ValueError(
                f"the {stream} latent {list(shape)} has {shape[1]} channels, this model's has {channels[stream]}: "
                "connect the model to 'Empty SkyCanvas Latent', and encode with the VAE made for this model"
            )
    return shapes


def checked_keyframes(shapes: Shapes, conditioning: list[dict]) -> tuple[int, ...]:
    """Pixel frames of the keyframes of a latent that is to be sampled; ValueError if the conditioning has others."""
    named = {tuple(cond.get("skycanvas_keyframes", ())) for cond in conditioning}
    if () in named:
        raise ValueError(
            "the latent has keyframes, and the conditioning does not say of which frames: connect positive and "
            "negative of 'Add Keyframes' too"
        )
    if len(named) > 1:
        raise ValueError(
            f"the prompts name different keyframes, {' and '.join(str(list(one)) for one in sorted(named))}: connect "
            "positive and negative of the same 'Add Keyframes'"
        )
    (frames,) = named
    last, count = frame_count(shapes[0][2]) - 1, shapes[2][2]
    if len(frames) != count:
        raise ValueError(
            f"the conditioning names {len(frames)} keyframes {list(frames)}, the latent has {count}: connect all "
            "outputs of the same 'Add Keyframes'"
        )
    outside = [frame for frame in frames if not 0 <= frame <= last]
    if outside:
        raise ValueError(
            f"keyframes {outside} lie outside the clip: its frames are 0 to {last}. Connect all outputs of the same "
            "'Add Keyframes'"
        )
    return frames


# --- loading


class SkyReelsV4Config(comfy.supported_models_base.BASE):
    """What ComfyUI wants to know about a model before it exists."""

    unet_extra_config: dict = {}
    supported_inference_dtypes = [torch.bfloat16, torch.float16, torch.float32]

    def __init__(self, config: MMDiTConfig, latent_format: VideoLatentFormat, shift: float):
        super().__init__({"config": config})
        self.latent_format = latent_format
        self.sampling_settings = {"shift": shift}
        # Wan's rule is dim / 2222 per latent cell; a packed latent counts every channel of a cell
        self.memory_usage_factor = config.dim / 2222 / (config.video_channels if config.audio_channels else 1)

    def get_model(self, state_dict, prefix="", device=None) -> SkyReelsV4:
        return SkyReelsV4(self, device=device)


def load_model(
    path: str, model_options: dict | None = None, disable_dynamic: bool = False
) -> comfy.model_patcher.ModelPatcher:
    """Loads a SkyReels-V4 checkpoint of any size: float, cast to `model_options["dtype"]`, scaled fp8 or comfy_quant.

    Follows comfy.sd.load_diffusion_model_state_dict, which cannot be taught a new architecture. ArchitectureError if
    the checkpoint is of another one (names the tensor), ValueError if the file is broken (names it and its sizes).
    """
    management, options = comfy.model_management, model_options or {}
    sd, metadata = read_checkpoint(path)
    sd, metadata = comfy.utils.convert_old_quants(sd, "", metadata=metadata)
    inner = comfy.utils.state_dict_prefix_replace(sd, {CHECKPOINT_PREFIX: ""}, filter_keys=True)
    if inner:
        sd, metadata = comfy.utils.convert_old_quants(inner, "", metadata=metadata)
    shift = _fact("sampling_shift", sd, metadata)
    preview = _fact("latent_rgb_factors", sd, metadata)
    with naming(path, "SkyReels-V4"):
        config = MMDiTConfig.from_state_dict(sd)
        _check_shapes(sd, config)

    statistics = [
        Statistics(sd[f"{stream}_latent_mean"], sd[f"{stream}_latent_std"])
        for stream in ("video", "audio")
        if f"{stream}_latent_mean" in sd
    ]
    latent_format = JointLatentFormat(*statistics) if config.audio_channels else VideoLatentFormat(*statistics)
    if preview is not None:
        latent_format.set_preview(preview)
    model_config = SkyReelsV4Config(config, latent_format, SAMPLING_SHIFT if shift is None else shift)
    model_config.quant_config = comfy.utils.detect_layer_quantization(sd, "")
    quantised = model_config.quant_config is not None

    load_device = options.get("load_device", management.get_torch_device())
    offload_device = options.get("offload_device", management.unet_offload_device())
    supported = model_config.supported_inference_dtypes
    dtype = options.get("dtype") or management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(sd),
        supported_dtypes=supported,
        weight_dtype=None if quantised else comfy.utils.weight_dtype(sd),
    )
    cast = management.unet_manual_cast(None if quantised else dtype, load_device, supported)
    model_config.set_inference_dtype(dtype, cast, device=load_device)
    if options.get("custom_operations") is not None:
        model_config.custom_operations = options["custom_operations"]

    # CoreModelPatcher is looked up at the call: ComfyUI binds it anew where weights are streamed to the GPU
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    model = model_config.get_model(sd)
    patcher = patcher_class(model, load_device=load_device, offload_device=offload_device)
    if not management.is_device_cpu(offload_device):
        model.to(offload_device)
    model.load_model_weights(sd, assign=patcher.is_dynamic())
    patcher.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, "skyreels_v4", _remember_shapes)
    patcher.cached_patcher_init = (load_model, (path, options))
    return patcher


def _fact(name: str, sd: dict[str, Tensor], metadata: dict[str, str]):
    """What a checkpoint says about itself: in JSON in its metadata, or as a tensor where ModelSave has written it."""
    if name in sd:
        return sd.pop(name).tolist()
    return json.loads(metadata[name]) if name in metadata else None


def _check_shapes(sd: dict[str, Tensor], config: MMDiTConfig) -> None:
    """ArchitectureError for the first tensor that is missing or misshapen; quantised ones have shapes of their own."""
    for name, tensor in MMDiT(config, device="meta").state_dict().items():
        if name not in sd:
            raise ArchitectureError(f"tensor '{name}' is missing")
        quantised = f"{name.removesuffix('weight')}comfy_quant" in sd
        if sd[name].shape != tensor.shape and not quantised:
            raise ArchitectureError(f"tensor '{name}' has shape {list(sd[name].shape)}, expected {list(tensor.shape)}")
