"""Guidance of a joint latent: its own scale for the picture and for the sound, and one for how well they agree.

For each stream: guided = negative + scale * (positive - negative)  +  (cross_modal - 1) * (positive - isolated)

Keyframes take the picture's scale.

`isolated` is the prediction for the positive prompt with the two streams hidden from each other (SkyReels-V4 eq. 5
left out); the difference is what picture and sound learn from one another.
"""

from typing import Any

import comfy.samplers
import comfy.utils
from torch import Tensor

from .carrier import family_of
from .latent_format import Shapes


class DualStreamGuider(comfy.samplers.CFGGuider):
    """GUIDER for joint latents; equal scales without cross-modal guidance are ComfyUI's CFGGuider, bit for bit.

    Scales are 1 or more as a rule; 1 is no guidance. Where both text scales are 1 the negative prompt is not evaluated,
    where cross_modal is 1 neither is the isolated pass. `cfg` holds (video, audio), or one number for both, which is
    what nodes such as 'CFG Override' put there for some of the steps.
    """

    def __init__(self, model, video_guidance: float, audio_guidance: float, cross_modal: float = 1.0):
        self.isolated: dict[str, Any] = family_of(model).isolated
        super().__init__(model)
        self.cfg = (video_guidance, audio_guidance)
        self.cross_modal = cross_modal
        self.shapes: Shapes = ()  # of the streams of the latent that is being sampled

    def set_conds(self, positive, negative):
        conds = {"positive": positive, "negative": negative}
        if self.cross_modal != 1:
            conds["isolated"] = positive  # conditioning of its own: step caches tell passes apart by it
        self.inner_set_conds(conds)

    def inner_sample(self, *given, latent_shapes: Shapes, **more):
        self.shapes = latent_shapes
        return super().inner_sample(*given, latent_shapes=latent_shapes, **more)

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: dict = {}, seed=None) -> Tensor:  # noqa: B006
        """x0 of the packed latent x [B, 1, N]."""
        shapes = self.shapes
        video, audio = self.cfg if isinstance(self.cfg, tuple) else (self.cfg, self.cfg)
        scales = [video if len(shape) == 5 else audio for shape in shapes]  # pictures are [B, C, T, h, w]
        isolates = "isolated" in self.conds and len(shapes) > 1
        if len(set(scales)) == 1 and not isolates:
            return self._guided(scales[0], x, timestep, model_options, seed)

        network = SharedEvaluation(model_options, with_negative=len(set(scales)) > 1)
        guided_by = {
            scale: comfy.utils.unpack_latents(self._guided(scale, x, timestep, network.options, seed), shapes)
            for scale in dict.fromkeys(scales)
        }
        guided = comfy.utils.pack_latents([guided_by[scale][i] for i, scale in enumerate(scales)])[0]
        if not isolates:
            return guided
        options = {**model_options, "transformer_options": {**model_options["transformer_options"], **self.isolated}}
        isolated = comfy.samplers.calc_cond_batch(self.inner_model, [self.conds["isolated"]], x, timestep, options)[0]
        return guided + (self.cross_modal - 1) * (network.predictions[0] - isolated)

    def _guided(self, scale: float, x: Tensor, timestep: Tensor, model_options: dict, seed) -> Tensor:
        """What CFGGuider predicts with this scale for both streams, with all that patches add to it."""
        positive, negative = self.conds["positive"], self.conds["negative"]
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, negative, positive, scale, model_options, seed
        )


class SharedEvaluation:
    """One evaluation of the network for several guidance scales, in the place where ComfyUI evaluates the prompts.

    `options` are the model options to guide with; `predictions` the x0 for the positive and the negative prompt.
    """

    def __init__(self, model_options: dict, with_negative: bool):
        self.evaluate = model_options.get("sampler_calc_cond_batch_function", evaluate)
        self.predictions: list[Tensor] = []
        self.options = {**model_options, "sampler_calc_cond_batch_function": self}
        if with_negative:  # a scale of 1 comes without it, but the other stream needs it
            self.options["disable_cfg1_optimization"] = True

    def __call__(self, args: dict) -> list[Tensor]:
        if not self.predictions:
            self.predictions = self.evaluate(args)
        return list(self.predictions)


def evaluate(args: dict) -> list[Tensor]:
    """ComfyUI's own evaluation, called as a node's replacement of it would be."""
    return comfy.samplers.calc_cond_batch(
        args["model"], args["conds"], args["input"], args["sigma"], args["model_options"]
    )
