"""What the editor in the browser asks for: facts of files, small pictures and sounds of them, and the plan of a canvas.

Nothing here runs on the event loop but waiting: files are decoded, and canvases compiled, in a few threads, up to a
time, and no longer than somebody waits for the answer. Like all of ComfyUI's, these routes refuse other web sites.
"""

import asyncio
import base64
import hashlib
import io
import json
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import comfy.model_management
import folder_paths
import numpy as np
import torch
from aiohttp import web
from comfy.cli_args import args
from PIL import Image
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compile import Plan, compile_canvas
from ..canvas.cost import estimate
from ..canvas.document import MAX_JSON, MAX_SECONDS, CanvasError, Document, Media
from ..carriers.carrier import Carrier, family_of_file
from ..carriers.network import MOST_LATENTS, Network, measured_rate
from ..carriers.skyreels_v4_canvas import SkyReelsV4Carrier
from .cost import PASSES, STEPS, network_of
from .editor import blamed, filled, in_file
from .files import Check, Clip, MediaError, Picture, TooLargeError, find, fingerprint, look, media_names

MODEL_FOLDERS = ("checkpoints", "diffusion_models")  # in which the plan looks for the model that is wired in
WORKERS = 2  # pictures and sounds that are decoded at once; a plan has a thread of its own
WAIT = 0.25  # seconds between two looks whether anybody still waits
MOST_SECONDS = 30  # that one answer may take
MOST_SIDE = 512  # pixels, of a cell
MOST_CELLS = 1024
MOST_SHEET = 2**26  # pixels of a sheet
MOST_PICTURE = 4096  # pixels of a side
MOST_SOUND = 600  # seconds
CACHE_BYTES = 2**28  # of sheets on disk, and of masks in memory

Answer = TypeVar("Answer")


class Stopped(Exception):
    """Nobody waits for the answer any more."""


# --- in a thread


class Work:
    """Runs functions in threads, one request each. They are given a `check` to call often: it raises to end them."""

    def __init__(self, workers: int):
        self.threads = ThreadPoolExecutor(workers, thread_name_prefix="skycanvas")

    async def __call__(self, request: web.Request, function: Callable[[Check], Answer]) -> Answer:
        stop = threading.Event()

        def run() -> Answer:
            end = time.monotonic() + MOST_SECONDS

            def check() -> None:
                if stop.is_set():
                    raise Stopped
                if time.monotonic() > end:
                    raise TooLargeError(f"this takes more than {MOST_SECONDS} s: ask for less at once")

            check()
            with torch.inference_mode():
                return function(check)

        future = asyncio.get_running_loop().run_in_executor(self.threads, run)
        try:
            while not (await asyncio.wait([future], timeout=WAIT))[0]:
                if request.transport is None or request.transport.is_closing():
                    raise Stopped
            return await future
        finally:
            stop.set()
            future.cancel()  # if it has not begun


media_work, plan_work = Work(WORKERS), Work(1)


def handler(work: Work, function: Callable[[Any, Check], Any], *, body: bool = False) -> Callable:
    """A handler that answers what `function` makes of the query (or of the body); errors as {"error": text}.

    It gives a web.Response, or something for JSON.
    """

    async def handle(request: web.Request) -> web.Response:
        try:
            given = await _body(request) if body else request.query
            answer = await work(request, lambda check: _encoded(function(given, check)))
        except CanvasError as error:
            return web.json_response({"error": str(error)}, status=getattr(error, "status", 400))
        except Stopped:
            return web.Response(status=499)
        content, kind, headers = answer
        return web.Response(body=content, content_type=kind, headers={"Cache-Control": "no-cache", **headers})

    return handle


async def _body(request: web.Request) -> bytes:
    most = 6 * MAX_JSON  # a text inside a text, every character escaped
    content = bytearray()
    async for chunk in request.content.iter_any():
        content += chunk
        if len(content) > most:
            raise TooLargeError(f"the request has more than {most} bytes: a canvas has at most {MAX_JSON}")
    return bytes(content)


File = tuple[bytes, str, dict[str, str]]  # content, its type, further headers


def _encoded(answer: Any) -> File:
    if isinstance(answer, tuple):
        return answer
    return json.dumps(answer, allow_nan=False).encode(), "application/json", {}


def number(query: Mapping[str, str], name: str, low: float, high: float, default: float | None = None) -> float:
    """A number of a query. CanvasError for anything else."""
    try:
        value = float(query[name]) if name in query or default is None else default
    except (KeyError, ValueError):
        value = math.nan
    if not low <= value <= high:
        given = f"is {query[name][:40]!r}" if name in query else "is missing"
        raise CanvasError(f"{name} {given}: use {low:.10g} to {high:.10g}")
    return value


def whole(query: Mapping[str, str], name: str, low: int, high: int, default: int | None = None) -> int:
    value = number(query, name, low, high, default)
    if value != int(value):
        raise CanvasError(f"{name} is {value:g}: use a whole number")
    return int(value)


def file_of(query: Mapping[str, str]) -> str:
    if "file" not in query:
        raise CanvasError("file is missing: use the name of a file in ComfyUI's input folder")
    return query["file"]


# --- media


def media(query: Mapping[str, str], check: Check) -> dict[str, Any]:
    """GET /skycanvas/media?file=NAME: facts of a file, from its header."""
    name = file_of(query)
    source = look(name)
    status = os.stat(find(name))
    sound = source.sound if isinstance(source, Clip) else None
    pictures = isinstance(source, Picture) or source.width > 0
    clip = isinstance(source, Clip) and pictures
    return {
        "kind": "clip" if clip else "image" if pictures else "sound",
        "width": source.width if pictures else None,
        "height": source.height if pictures else None,
        "frames": source.frames if clip else None,
        "fps": source.fps if clip else None,
        "alpha": source.alpha,
        "sound": None if sound is None else vars(sound),
        "bytes": status.st_size,
        "modified": status.st_mtime,
    }


def files(query: Mapping[str, str], check: Check) -> dict[str, Any]:
    """GET /skycanvas/files: media of the input folder and its folders; cut: there are more than are listed."""
    names, cut = media_names(check)
    return {"files": names, "cut": cut}


def limits(query: Mapping[str, str], check: Check) -> dict[str, Any]:
    """GET /skycanvas/limits: bytes that ComfyUI takes as an upload; null: any number."""
    return {"upload": round(args.max_upload_size * 2**20) or None}


def sheet(query: Mapping[str, str], check: Check) -> File:
    """GET /skycanvas/sheet?file=NAME&fps=F&start=S&frames=N&side=P: N frames of a file in one JPEG, row by row.

    Frame i is that at start + i / fps seconds, as a canvas of that rate shows it.
    """
    name, source = file_of(query), look(file_of(query))
    fps, start = number(query, "fps", 0.1, 1000), number(query, "start", 0, MAX_SECONDS, 0.0)
    count, side = whole(query, "frames", 1, MOST_CELLS), whole(query, "side", 8, MOST_SIDE)
    facts = _pictures(source)
    size = fitted(facts, side)
    columns = math.ceil(math.sqrt(count))
    if columns * size[0] * math.ceil(count / columns) * size[1] > MOST_SHEET:
        raise TooLargeError(f"{count} frames of {size[0]} x {size[1]} pixels are more than {MOST_SHEET}: ask for fewer")
    key = hashlib.sha256(json.dumps([fingerprint(name), fps, start, count, side]).encode()).hexdigest()

    def draw() -> bytes:
        result = Image.new("RGB", (columns * size[0], math.ceil(count / columns) * size[1]))
        wanted = [min(facts.frame_at(i / fps + start), (facts.frames or 1) - 1) for i in range(count)]
        for i, image in enumerate(_shown(source, wanted, size, check)):
            result.paste(on_black(image), (i % columns * size[0], i // columns * size[1]))
        return _written(result, "JPEG", quality=85)

    return sheets.get(f"{key}.jpg", draw), "image/jpeg", {"X-SkyCanvas-Cell": f"{size[0]}x{size[1]}"}


def picture(query: Mapping[str, str], check: Check) -> File:
    """GET /skycanvas/picture?file=NAME&time=S&side=P: one frame; with its alpha channel if it is a picture."""
    source = look(file_of(query))
    seconds, side = number(query, "time", 0, MAX_SECONDS, 0.0), whole(query, "side", 8, MOST_PICTURE, MOST_PICTURE)
    facts = _pictures(source)
    frame = min(facts.frame_at(seconds), (facts.frames or 1) - 1)
    (image,) = _shown(source, [frame], fitted(facts, side), check)
    if isinstance(source, Picture):
        return _written(image, "PNG", compress_level=1), "image/png", {}
    return _written(image, "JPEG", quality=92), "image/jpeg", {}


def _pictures(source: Picture | Clip) -> Media:
    return source.media("image" if isinstance(source, Picture) else "clip")


def fitted(facts: Media, side: int) -> tuple[int, int]:
    """Width and height with a longer side of so many pixels at most."""
    width, height = facts.width or 1, facts.height or 1
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shown(source: Picture | Clip, wanted: list[int], size: tuple[int, int], check: Check) -> Iterator[Image.Image]:
    """The pictures of a file at some frames, which rise or stay, in that size; the same object if the same."""
    if isinstance(source, Picture):
        check()
        yield from [source.image().resize(size, Image.Resampling.BOX, reducing_gap=2.0)] * len(wanted)
        return
    last = image = None
    for frame, _ in source.pictures(wanted, check):
        if frame is not last:
            turns = round(frame.rotation / 90)
            width, height = size[::-1] if turns % 2 else size
            small = frame.reformat(width, height, "rgb24", interpolation="AREA")
            image, last = Image.fromarray(np.rot90(small.to_ndarray(), turns)), frame
        yield image


def on_black(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    result = Image.new("RGB", image.size)
    result.paste(image, mask=image.getchannel("A"))
    return result


def _written(image: Image.Image, form: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def sound(query: Mapping[str, str], check: Check) -> File:
    """GET /skycanvas/sound?file=NAME&start=S&duration=D: 16 bit PCM WAV, also of a clip's own sound."""
    source = look(file_of(query))
    facts = source.media("sound")
    rate, samples = facts.sample_rate or 1, facts.samples or 1
    start = number(query, "start", 0, MAX_SECONDS, 0.0)
    left = max(0.0, samples / rate - start)
    duration = number(query, "duration", 0, MOST_SOUND, min(left, MOST_SOUND))
    begin = min(round(start * rate), samples)
    waveform, _ = source.read("sound", begin, min(begin + round(duration * rate), samples), check)
    import wave  # few sessions need it

    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(len(waveform))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((waveform.clamp(-1, 1) * 32767).round().short().T.contiguous().numpy().tobytes())
    return content.getvalue(), "audio/wav", {}


class Sheets:
    """Files in ComfyUI's temp folder, up to `limit` bytes; those that were not asked for the longest go first."""

    def __init__(self, limit: int = CACHE_BYTES):
        self.limit, self.lock = limit, threading.Lock()

    def get(self, name: str, make: Callable[[], bytes]) -> bytes:
        folder = Path(folder_paths.get_temp_directory(), "skycanvas", "sheets")
        path = folder / name
        try:
            content = path.read_bytes()
            os.utime(path)
            return content
        except OSError:
            content = make()
        with self.lock:
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / f".{uuid4().hex}"
            aside.write_bytes(content)
            os.replace(aside, path)
            self._trim(folder)
        return content

    def _trim(self, folder: Path) -> None:
        files = sorted(((entry.stat(), entry.path) for entry in os.scandir(folder)), key=lambda file: file[0].st_mtime)
        held = sum(status.st_size for status, _ in files)
        for status, path in files:
            if held <= self.limit:
                break
            os.unlink(path)
            held -= status.st_size


sheets = Sheets()


# --- the plan


def plan(body: bytes, check: Check) -> dict[str, Any]:
    """POST /skycanvas/plan {"document": text, "model": {"folder", "file"}}: what is given, made again and lost.

    model: the file of ComfyUI's model folders that will be loaded, whose family decides on the latent grids; Mini if it
    is left out, or of no family that carries a canvas. Mini's cost is told too. No picture is decoded but masks; those
    that come through a wire are not there, and count as wholly white.
    """
    try:
        request = json.loads(body)
        text, model = request["document"], request.get("model") or {}
        folder, file = model.get("folder", ""), model.get("file", "")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        text = folder = file = None
    if not all(isinstance(value, str) for value in (text, folder, file)):
        raise CanvasError('the request is no JSON of the form {"document": text}: send that')
    document = filled(Document.parse(text), in_file)
    tensors, unseen = {}, []
    for name, facts in document.media.items():
        with blamed(name, facts):
            if any(getattr(facts, fact) is None for fact in facts.facts):
                raise MediaError(f"{facts.input} has not been seen yet: run the workflow once, then its size is known")
            if facts.kind == "mask" and facts.file is not None:
                tensors[name] = masks.get(facts.file, check)
            else:
                unseen += [name] * (facts.kind == "mask")
                tensors[name] = torch.ones(()).expand(_shape(facts))
    check()
    family = family_of_model(folder, file)
    compiled = compile_canvas(Canvas(document, tensors), family.video, family.audio)
    cost, text = cost_of(compiled) if family is SkyReelsV4Carrier else size_of(compiled, family)
    notes = [{"level": note.level, "text": note.text} for note in compiled.notes]
    notes += [
        {"level": "info", "text": f"'{name}' comes through a wire: here it counts as wholly white."} for name in unseen
    ]
    return {
        "family": family.family,
        "grid": grid_of(family),
        "latent": list(compiled.given.shape),
        "given": bits(compiled.given),
        "partial": bits(compiled.partial),
        "concat": bits(compiled.concat),
        "patches": [
            {"frame": p.frame, "time": p.time, "box": list(p.box), "placements": list(p.placements)}
            for p in compiled.patches
        ],
        "audio": {
            "latents": len(compiled.audio_given),
            "given": bits(compiled.audio_given),
            "partial": bits(compiled.audio_partial),
        },
        "given_pixels": compiled.given_pixels.tolist(),
        "notes": notes,
        "report": compiled.report(),
        **cost,
        "text": text,
    }


def grid_of(family: type[Carrier]) -> dict[str, float]:
    """Frames per latent frame, seconds per audio latent, and those of the first one."""
    audio = family.audio
    first = (audio.hop - audio.missing) / audio.sample_rate
    return {"temporal": family.video.temporal, "seconds": audio.hop / audio.sample_rate, "first": first}


def family_of_model(folder: str, file: str) -> type[Carrier]:
    """The family of a file in one of ComfyUI's model folders; Mini's, if there is none or it carries no canvas."""
    path = folder_paths.get_full_path(folder, file) if folder in MODEL_FOLDERS and file else None
    if path is None:
        return SkyReelsV4Carrier
    return _family(path, os.stat(path).st_mtime_ns) or SkyReelsV4Carrier


@lru_cache(maxsize=64)
def _family(path: str, modified: int) -> type[Carrier] | None:
    return family_of_file(path)


def bits(mask: Tensor) -> str:
    """Base64 of its cells in order, the first one in the highest bit."""
    return base64.b64encode(np.packbits(mask.numpy().reshape(-1))).decode()


def _shape(facts: Media) -> tuple[int, ...]:
    if facts.kind == "sound":
        return min(facts.channels, 2), facts.samples
    frames = 1 if facts.kind == "image" else facts.frames
    return (frames, facts.height, facts.width) if facts.kind == "mask" else (frames, facts.height, facts.width, 3)


class Masks:
    """Masks of files, up to `limit` bytes; those that were not asked for the longest are forgotten first."""

    def __init__(self, limit: int = CACHE_BYTES):
        self.limit, self.held, self.lock = limit, 0, threading.Lock()
        self.tensors: OrderedDict[Any, Tensor] = OrderedDict()

    def get(self, name: str, check: Check) -> Tensor:
        key = fingerprint(name)
        with self.lock:
            if key in self.tensors:
                self.tensors.move_to_end(key)
                return self.tensors[key]
        source = look(name)
        facts = source.media("mask")
        frames = facts.frames or 1
        if (size := 4 * frames * (facts.height or 0) * (facts.width or 0)) > 2 * self.limit:
            raise TooLargeError(
                f"{name} takes {size / 2**30:.1f} GiB: use a mask of at most {self.limit / 2**29:.1f} GiB"
            )
        mask, _ = source.read("mask", 0, frames, check)
        with self.lock:
            self.tensors[key] = mask
            self.held += mask.nbytes
            while self.held > self.limit:
                self.held -= self.tensors.popitem(last=False)[1].nbytes
        return mask


masks = Masks()


@lru_cache(maxsize=1)
def mini() -> Network:
    return network_of(None)


def cost_of(compiled: Plan) -> tuple[dict[str, Any], str]:
    """Tokens, bytes and seconds of a usual sampling on Mini, and the same in one line."""
    network, shape = mini(), (*compiled.given.shape, len(compiled.audio_given))
    rate = clock.rate(network, shape)
    cost = estimate(compiled, network.cost, steps=STEPS, passes=PASSES, rate=rate)
    tokens = {
        "total": cost.video_tokens + cost.audio_tokens + cost.context_tokens + cost.reference_tokens,
        "video": cost.video_tokens,
        "audio": cost.audio_tokens,
        "context": cost.context_tokens,
        "references": cost.reference_tokens,
    }
    costs = {"tokens": tokens, "bytes": cost.bytes, "seconds": cost.seconds}
    return costs, f"Cost of {STEPS} steps with guidance: {cost.text()}"


def size_of(compiled: Plan, family: type[Carrier]) -> tuple[dict[str, Any], str]:
    """Tokens of the clip alone for a model that is not loaded, as `cost_of`."""
    video, audio = compiled.given.numel() // family.video.token**2, len(compiled.audio_given)
    tokens = {"total": video + audio, "video": video, "audio": audio, "context": None, "references": None}
    text = (
        f"{family.family}: {video} tokens of the picture and {audio} of the sound. 'Preview Canvas' tells the memory."
    )
    return {"tokens": tokens, "bytes": None, "seconds": None}, text


class Clock:
    """How fast Mini is here, measured once for each size of a canvas, aside, while ComfyUI has nothing to do."""

    def __init__(self) -> None:
        self.rates: dict[tuple[int, ...], float] = {}
        self.measuring = threading.Lock()

    def rate(self, network: Network, shape: tuple[int, ...]) -> float | None:
        """Operations per second on a latent of frames, rows and columns, and of sound; None while it is not known."""
        most = MOST_LATENTS["cpu" if comfy.model_management.is_device_cpu(network.device) else "other"]
        part = tuple(map(min, shape, most))
        if part not in self.rates and not _busy() and self.measuring.acquire(blocking=False):
            threading.Thread(target=self._measure, args=(network, part), daemon=True).start()
        return self.rates.get(part)

    def _measure(self, network: Network, part: tuple[int, ...]) -> None:
        try:
            self.rates[part] = measured_rate(network.config, network.device, network.dtype, part)
        finally:
            self.measuring.release()


clock = Clock()


# --- registration


def _server() -> Any:
    """ComfyUI's server, None where the pack is used without one."""
    from server import PromptServer  # ComfyUI's own imports of it go round in a circle

    return getattr(PromptServer, "instance", None)


def _busy() -> bool:
    server = _server()
    return server is not None and server.prompt_queue.get_tasks_remaining() > 0


HANDLERS = {
    ("GET", "/skycanvas/media"): handler(media_work, media),
    ("GET", "/skycanvas/files"): handler(media_work, files),
    ("GET", "/skycanvas/limits"): handler(media_work, limits),
    ("GET", "/skycanvas/sheet"): handler(media_work, sheet),
    ("GET", "/skycanvas/picture"): handler(media_work, picture),
    ("GET", "/skycanvas/sound"): handler(media_work, sound),
    ("POST", "/skycanvas/plan"): handler(plan_work, plan, body=True),
}


def register() -> None:
    """Adds the routes to ComfyUI's server, if there is one."""
    server = _server()
    for (method, path), handle in HANDLERS.items() if server else ():
        server.routes.route(method, path)(handle)
