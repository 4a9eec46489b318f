"""Sampling of picture and sound together: guidance for each, a wave over the frames, and one node that has it all."""

import math

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
from comfy_api.latest import io
from comfy_extras.nodes_model_advanced import ModelSamplingSD3

from ..carriers.carrier import family_of, noise_for
from ..carriers.guidance import DualStreamGuider
from ..carriers.wave import AUDIO_LAG, DELAY, WaveSampler

GUIDANCE = 2.0  # what Mini likes
SCHEDULES = ["ordinary", "wave"]


def check_finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}: give a finite number")


def make_guider(model, positive, negative, video_guidance, audio_guidance, cross_modal) -> DualStreamGuider:
    """ValueError if the model is of another kind, a scale is not finite, or the model's streams cannot be parted."""
    check_finite(video_guidance=video_guidance, audio_guidance=audio_guidance, cross_modal=cross_modal)
    guider = DualStreamGuider(model, video_guidance, audio_guidance, cross_modal)
    if cross_modal != 1 and not guider.isolated:
        raise ValueError(
            f"cross_modal is {cross_modal:g}, and picture and sound of a {type(model.model).__name__} cannot be hidden "
            "from each other: use 1"
        )
    guider.set_conds(positive, negative)
    return guider


def guidance_inputs() -> list[io.Input]:
    """The inputs that the guider and the sampler share."""
    scale = {"default": GUIDANCE, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}
    return [
        io.Float.Input(
            "video_guidance",
            **scale,
            tooltip="How closely the picture follows the prompt. 1 is not at all pushed; too much makes it stiff.",
        ),
        io.Float.Input(
            "audio_guidance",
            **scale,
            tooltip="How closely the sound follows the prompt. Equal to the picture's, this is an ordinary cfg.",
        ),
        io.Float.Input(
            "cross_modal",
            **scale | {"default": 1.0},
            tooltip="How closely picture and sound follow each other. 1 leaves it to the model; more pushes them "
            "together, and takes one more evaluation of the model in each step.",
        ),
    ]


class SkyCanvasGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasGuider",
            display_name="SkyCanvas Guider",
            category="SkyCanvas/sampling",
            description="Guidance with a scale of its own for the picture, for the sound, and for how they agree. "
            "For 'SamplerCustomAdvanced'. With equal scales and cross_modal 1 it is 'CFG Guider'.",
            search_aliases=["cfg guider", "dual cfg", "modality guidance", "audio guidance"],
            inputs=[
                io.Model.Input("model", tooltip="The model that makes picture and sound, patched as you like."),
                io.Conditioning.Input("positive", tooltip="What should be there."),
                io.Conditioning.Input("negative", tooltip="What should not; often an empty prompt."),
                *guidance_inputs(),
            ],
            outputs=[io.Guider.Output()],
        )

    @classmethod
    def execute(cls, model, positive, negative, video_guidance, audio_guidance, cross_modal) -> io.NodeOutput:
        return io.NodeOutput(make_guider(model, positive, negative, video_guidance, audio_guidance, cross_modal))


class CanvasNoise:
    """NOISE of SamplerCustomAdvanced that depends on the seed and the clip's size alone."""

    def __init__(self, seed: int):
        self.seed = seed

    def generate_noise(self, latent: dict):
        return noise_for(latent, self.seed)


class SkyCanvasNoise(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasNoise",
            display_name="Canvas Noise",
            category="SkyCanvas/sampling",
            description="Noise for 'SamplerCustomAdvanced' that stays the same while you add, move and remove patches. "
            "With a model such as LTX-2, patches make the latent longer, and 'Random Noise' draws all of it anew then. "
            "'SkyCanvas Sampler' takes this noise by itself.",
            search_aliases=["random noise", "seed", "fixed noise"],
            inputs=[
                io.Int.Input(
                    "noise_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Another seed, another clip.",
                )
            ],
            outputs=[io.Noise.Output()],
        )

    @classmethod
    def execute(cls, noise_seed) -> io.NodeOutput:
        return io.NodeOutput(CanvasNoise(noise_seed))


class SkyCanvasWave(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasWave",
            display_name="SkyCanvas Wave",
            category="SkyCanvas/sampling",
            description="A sampler that finishes earlier frames before later ones, and lets the sound follow the "
            "picture. Motion can hold together better. Each frame gets all the steps of the sigmas, so it takes "
            "longer: with delay 0.5, a clip of 17 frames takes 3.5 times as long.",
            search_aliases=["diffusion forcing", "rolling", "per-frame schedule"],
            inputs=[
                io.Float.Input(
                    "delay",
                    default=DELAY,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="When a latent frame (4 frames) may start, counted from the start of the one before it: "
                    "0 all together, 1 each only when the one before it is done.",
                ),
                io.Float.Input(
                    "audio_lag",
                    default=AUDIO_LAG,
                    min=0.0,
                    max=16.0,
                    step=0.1,
                    tooltip="By how many latent frames the sound starts after its picture.",
                ),
            ],
            outputs=[io.Sampler.Output()],
        )

    @classmethod
    def execute(cls, delay, audio_lag) -> io.NodeOutput:
        check_finite(delay=delay, audio_lag=audio_lag)
        if not 0 <= delay <= 1:
            raise ValueError(f"delay {delay} is not in 0..1: 0 makes all frames together, 1 one after the other")
        if audio_lag < 0:
            raise ValueError(f"audio_lag {audio_lag} is negative: the sound follows its picture, use 0 or more")
        return io.NodeOutput(WaveSampler(delay, audio_lag))


class SkyCanvasSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasSampler",
            display_name="SkyCanvas Sampler",
            category="SkyCanvas/sampling",
            description="Makes picture and sound. Like KSampler, with guidance for each of the two and for how they "
            "agree, a schedule that makes earlier frames first, and a preview that shows the clip and its sound.",
            search_aliases=["ksampler", "sample", "generate", "denoise"],
            inputs=[
                io.Model.Input("model", tooltip="The model that makes picture and sound, patched as you like."),
                io.Conditioning.Input("positive", tooltip="What should be there."),
                io.Conditioning.Input("negative", tooltip="What should not; often an empty prompt."),
                io.Latent.Input("latent_image", tooltip="What to start from: a joint latent, or a sound alone."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Of the noise, which depends on the latent's size only: not on patches and references.",
                ),
                io.Int.Input(
                    "steps",
                    default=30,
                    min=1,
                    max=10000,
                    tooltip="Steps of the sampler; with the wave, the steps that each frame gets (12 are enough).",
                ),
                *guidance_inputs(),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.SAMPLER_NAMES,
                    default="euler",
                    tooltip="The way from step to step. The wave takes euler.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.SCHEDULER_NAMES,
                    default="simple",
                    tooltip="How the noise levels are spread over the steps.",
                ),
                io.Combo.Input(
                    "schedule",
                    options=SCHEDULES,
                    default=SCHEDULES[0],
                    tooltip="ordinary: all frames at once. wave: earlier frames ahead of later ones, the sound "
                    "following. It takes several times as long; 'SkyCanvas Wave' has its settings.",
                ),
                io.Float.Input(
                    "shift",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="More gives more of the steps to high noise, where the composition settles. 0: the model's "
                    "own.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much to change what is in the latent: 1 makes it anew.",
                ),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        seed,
        steps,
        video_guidance,
        audio_guidance,
        cross_modal,
        sampler_name,
        scheduler,
        schedule,
        shift,
        denoise,
    ) -> io.NodeOutput:
        return io.NodeOutput(
            sample_latent(
                make_guider(with_shift(model, shift), positive, negative, video_guidance, audio_guidance, cross_modal),
                latent_image,
                seed,
                steps,
                sampler_name=sampler_name,
                scheduler=scheduler,
                schedule=schedule,
                denoise=denoise,
            )
        )


def with_shift(model, shift: float):
    """The model with another shift of its noise schedule; as it is if shift is 0."""
    if not 0 <= shift < math.inf:
        raise ValueError(f"shift is {shift}: use a number above 0, or 0 for the model's own")
    if not shift:
        return model
    # what the network calls its timesteps differs from family to family; the shift is the same formula in all
    multiplier = getattr(model.get_model_object("model_sampling"), "multiplier", 1.0)
    return ModelSamplingSD3().patch(model, shift, multiplier)[0]


def sample_latent(
    guider: DualStreamGuider,
    latent_image: dict,
    seed: int,
    steps: int,
    *,
    sampler_name: str = "euler",
    scheduler: str = "simple",
    schedule: str = "ordinary",
    denoise: float = 1.0,
) -> dict:
    """Fills a LATENT as KSampler does, or in a wave. ValueError if the guider's model cannot make a latent like it."""
    if steps < 1:
        raise ValueError(f"steps is {steps}: use 1 or more")
    if not 0 <= denoise <= 1:
        raise ValueError(f"denoise is {denoise}: use 0 to 1")
    if schedule == "wave" and sampler_name != "euler":
        raise ValueError(
            f"the wave takes euler steps, sampler_name is {sampler_name}: choose euler, or the ordinary schedule"
        )
    model, latent = guider.model_patcher, latent_image.copy()
    scales = [latent.pop(f"downscale_ratio_{axis}", None) for axis in ("spacial", "temporal")]
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"], *scales)
    shapes = [stream.shape for stream in (samples.unbind() if samples.is_nested else [samples])]
    family_of(model).check_latent(model, shapes)
    if schedule == "wave" and len(shapes) < 2:
        raise ValueError(
            "the wave lets the sound follow the picture, but the latent has one of them alone: choose the ordinary "
            "schedule"
        )
    sampler = WaveSampler() if schedule == "wave" else comfy.samplers.sampler_object(sampler_name)
    # KSampler's own sigmas: some of its samplers leave out a step
    plan = comfy.samplers.KSampler(model, steps, model.load_device, sampler_name, scheduler, denoise)
    samples = guider.sample(
        noise_for({**latent, "samples": samples}, seed),
        samples,
        sampler,
        plan.sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=latent_preview.prepare_callback(model, steps),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    management = comfy.model_management
    samples = samples.to(device=management.intermediate_device(), dtype=management.intermediate_dtype())
    return {**latent, "samples": samples}
