"""What the editor asks the real server for: media, pictures, sounds, and the plan of a canvas."""

import base64
import http.client
import io
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import wave

import numpy as np
import pytest
import torch
from media_files import clip_file, frame_of, picture_file, ramp, sound_file
from PIL import Image

from canvas.canvas import Canvas
from canvas.compile import compile_canvas
from canvas.document import Box, Document


@pytest.fixture(scope="module")
def folder(server):
    """The server's input folder, with media in it."""
    folder = server.base_directory / "input"
    (folder / "sub").mkdir(exist_ok=True)
    clip_file(folder / "clip.mkv", 40, (64, 32), sound=ramp(44100 * 2, 2))
    picture_file(folder / "sub" / "picture.png", (60, 30), "RGBA")
    sound_file(folder / "sound.wav", ramp(30000))
    (folder / "text.txt").write_text("no media")
    Image.new("L", (64, 64)).save(folder / "mask.png")
    (folder / "out.png").symlink_to("/etc/hostname")
    return folder


def get(server, route, headers=None, **query):
    """Status, headers and content of an answer."""
    url = f"{server.url}/skycanvas/{route}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def error_of(answer) -> str:
    return json.loads(answer[2])["error"]


def post(server, body, headers=None):
    request = urllib.request.Request(f"{server.url}/skycanvas/plan", body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def plan(server, document: str, **more):
    return post(server, json.dumps({"document": document, **more}).encode(), {"Content-Type": "application/json"})


# --- media


def test_facts_of_files(server, folder):
    clip = server.get("/skycanvas/media?file=clip.mkv")
    size = (folder / "clip.mkv").stat()
    assert clip == {
        "kind": "clip", "width": 64, "height": 32, "frames": 40, "fps": 16.0, "alpha": False,
        "sound": {"samples": 88200, "sample_rate": 44100, "channels": 2},
        "bytes": size.st_size, "modified": pytest.approx(size.st_mtime),
    }  # fmt: skip
    picture = server.get("/skycanvas/media?file=sub/picture.png")
    assert (picture["kind"], picture["width"], picture["height"], picture["alpha"]) == ("image", 60, 30, True)
    assert picture["frames"] is None and picture["sound"] is None
    sound = server.get("/skycanvas/media?file=sound.wav")
    assert (sound["kind"], sound["width"]) == ("sound", None) and sound["sound"]["samples"] == 30000


@pytest.mark.parametrize("route", ["media", "sheet", "picture", "sound"])
@pytest.mark.parametrize(
    "name, status, message",
    [
        ("gone.png", 404, "gone.png is not in ComfyUI's input folder"),
        ("../comfyui.log", 400, "use the name of a file inside ComfyUI's input folder"),
        ("/etc/hostname", 400, "use the name of a file inside ComfyUI's input folder"),
        ("out.png", 400, "out.png leads out of ComfyUI's input folder"),
        ("text.txt", 400, "text.txt is no picture, video or sound that can be read"),
        (None, 400, "file is missing: use the name of a file"),
    ],
)
def test_files_that_cannot_be_had(server, folder, route, name, status, message):
    answer = get(server, route, **({} if name is None else {"file": name}))
    assert answer[0] == status and message in error_of(answer)


def numbers_of(sheet: Image.Image, cell: str, count: int) -> list[int]:
    width, height = map(int, cell.split("x"))
    columns = sheet.width // width
    cells = [(i % columns * width + width // 2, i // columns * height + height // 2) for i in range(count)]
    return [frame_of(sheet.getpixel(place)) for place in cells]


def test_files_of_all_folders(server, folder):
    (folder / "sub" / "deep er").mkdir(exist_ok=True)
    picture_file(folder / "sub" / "deep er" / "é.png", (60, 30), "RGB")
    status, _, content = get(server, "files")
    answer = json.loads(content)
    assert status == 200 and answer["cut"] is False and answer["files"] == sorted(answer["files"])
    assert {"clip.mkv", "sound.wav", "mask.png", "sub/picture.png", "sub/deep er/é.png"} <= set(answer["files"])
    assert not {"text.txt", "out.png"} & set(answer["files"])


def test_limit_of_uploads(server):
    status, _, content = get(server, "limits")
    assert status == 200 and json.loads(content) == {"upload": 100 * 2**20}


def test_sheet(server, folder):
    status, headers, content = get(server, "sheet", file="clip.mkv", fps=8, start=0.5, frames=10, side=32)
    sheet = Image.open(io.BytesIO(content))
    assert status == 200 and headers["Content-Type"] == "image/jpeg" and headers["X-SkyCanvas-Cell"] == "32x16"
    assert sheet.size == (4 * 32, 3 * 16)
    assert numbers_of(sheet, "32x16", 10) == list(range(8, 28, 2))


def test_sheet_past_the_end_shows_the_last_frame(server, folder):
    _, headers, content = get(server, "sheet", file="clip.mkv", fps=16, start=2.4, frames=4, side=32)
    assert numbers_of(Image.open(io.BytesIO(content)), headers["X-SkyCanvas-Cell"], 4) == [38, 39, 39, 39]


def test_sheet_is_kept_on_disk_until_the_file_changes(server, folder):
    path = clip_file(folder / "changing.mkv", 4)
    sheets = server.base_directory / "temp" / "skycanvas" / "sheets"
    query = {"file": "changing.mkv", "fps": 16, "frames": 4, "side": 16}
    first = get(server, "sheet", **query)[2]
    known = set(sheets.iterdir())
    (newest,) = [name for name in known if name.read_bytes() == first]
    newest.write_bytes(b"kept")
    assert get(server, "sheet", **query)[2] == b"kept"
    newest.unlink()
    clip_file(path, 8)
    assert get(server, "sheet", **query)[0] == 200 and len(set(sheets.iterdir()) - known) == 1


@pytest.mark.parametrize(
    "query, status, message",
    [
        ({}, 400, "fps is missing: use 0.1 to 1000"),
        ({"fps": 16, "frames": 1025, "side": 32}, 400, "frames is '1025': use 1 to 1024"),
        ({"fps": 16, "frames": 4, "side": 513}, 400, "side is '513': use 8 to 512"),
        ({"fps": "nan", "frames": 4, "side": 32}, 400, "fps is 'nan'"),
        ({"fps": 16, "frames": 1.5, "side": 32}, 400, "frames is 1.5: use a whole number"),
        (
            {"fps": 16, "frames": 1024, "side": 512, "file": "large.png"},
            413,
            "1024 frames of 512 x 512 pixels are more",
        ),
    ],
)
def test_sheets_that_are_refused(server, folder, query, status, message):
    Image.new("RGB", (600, 600)).save(folder / "large.png")
    answer = get(server, "sheet", **{"file": "clip.mkv", **query})
    assert answer[0] == status and message in error_of(answer)


def test_picture(server, folder):
    status, headers, content = get(server, "picture", file="sub/picture.png")
    assert status == 200 and headers["Content-Type"] == "image/png"
    expected = Image.open(folder / "sub" / "picture.png")
    assert np.array_equal(np.array(Image.open(io.BytesIO(content))), np.array(expected))
    small = Image.open(io.BytesIO(get(server, "picture", file="sub/picture.png", side=20)[2]))
    assert small.size == (20, 10) and small.mode == "RGBA"
    _, headers, content = get(server, "picture", file="clip.mkv", time=1.5)
    assert headers["Content-Type"] == "image/jpeg"
    assert frame_of(Image.open(io.BytesIO(content)).getpixel((30, 20))) == 24


@pytest.mark.parametrize("name, channels", [("sound.wav", 1), ("clip.mkv", 2)])
def test_sound(server, folder, name, channels):
    status, headers, content = get(server, "sound", file=name, start=0.1, duration=0.2)
    assert status == 200 and headers["Content-Type"] == "audio/wav"
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (channels, 2, 44100)
        samples = np.frombuffer(file.readframes(-1), np.int16).reshape(-1, channels)
    expected = (ramp(88200, channels)[:, 4410:13230] * 32767).round().T.numpy()
    assert np.array_equal(samples, expected)
    whole = get(server, "sound", file=name)[2]
    assert len(whole) == 44 + 2 * channels * (30000 if channels == 1 else 88200)


def test_sound_that_is_refused(server, folder):
    answer = get(server, "sound", file="sub/picture.png")
    assert answer[0] == 400 and "picture.png is a picture: it cannot be used as a sound" in error_of(answer)
    answer = get(server, "sound", file="sound.wav", duration=601)
    assert answer[0] == 400 and "duration is '601': use 0 to 600" in error_of(answer)


# --- the plan


def flags(text: str, count: int) -> list[bool]:
    return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))[:count].astype(bool).tolist()


def test_plan_is_that_of_the_compiler(server, folder):
    mask = torch.zeros(1, 64, 64)
    mask[0, 8:24, 8:32] = 1
    Image.fromarray((mask[0] * 255).byte().numpy()).save(folder / "mask.png")
    canvas = Canvas.new(64, 64, 17, 16)
    canvas = canvas.place_clip(torch.zeros(17, 64, 64, 3), 16)
    canvas = canvas.place_image(torch.zeros(1, 30, 30, 3), frame=9, box=Box(x=3, y=5, width=30, height=30))
    canvas = canvas.place_sound(torch.zeros(1, 20000), 44100)
    canvas = canvas.region_mask("generate", mask, frame=2, frames=6)
    document, expected = canvas.document, compile_canvas(canvas)
    (name,) = [name for name, media in document.media.items() if media.kind == "mask"]
    media = {}
    for i, (key, facts) in enumerate(document.media.items()):  # the mask is a file, the rest comes through wires
        place = {"file": "mask.png", "frames": None} if key == name else {"input": f"image_{i}"}
        media[key] = type(facts)(**{**dict(facts), **place})
    status, _, content = plan(server, document.replace(media=media).json())
    found = json.loads(content)
    assert status == 200, found
    for field in ("given", "partial", "concat"):
        tensor = getattr(expected, field)
        assert flags(found[field], tensor.numel()) == tensor.flatten().tolist()
    assert found["latent"] == list(expected.given.shape) == [5, 8, 8] and expected.partial.any()
    assert found["audio"]["latents"] == len(expected.audio_given)
    for field in ("given", "partial"):
        tensor = getattr(expected, f"audio_{field}")
        assert flags(found["audio"][field], len(tensor)) == tensor.tolist()
    assert found["patches"] == [
        {"frame": p.frame, "time": p.time, "box": list(p.box), "placements": list(p.placements)}
        for p in expected.patches
    ]
    assert found["given_pixels"] == expected.given_pixels.tolist() and found["report"] == expected.report()
    assert found["notes"] == [{"level": note.level, "text": note.text} for note in expected.notes]
    assert found["tokens"]["video"] == 5 * 4 * 4 and found["bytes"] > 2**20
    assert found["text"].startswith("Cost of 30 steps with guidance: ")


def test_plan_is_on_the_grid_of_the_model_that_is_wired(server):
    """The file's own tensors say of which family it is; what is no such file counts as Mini."""
    empty = Document(width=64, height=64, frames=17, fps=16).json()
    (checkpoint, *_) = server.get("/api/models/checkpoints")
    found = json.loads(plan(server, empty, model={"folder": "checkpoints", "file": checkpoint})[2])
    grid = {"temporal": 8, "seconds": 0.04, "first": 0.01}
    assert (found["family"], found["grid"], found["latent"]) == ("LTX-2", grid, [3, 2, 2])
    assert found["tokens"]["video"] == 12 and found["text"].startswith("LTX-2: 12 tokens of the picture and 27 of ")
    for model in (
        None,
        {"folder": "checkpoints", "file": "nothing.safetensors"},
        {"folder": "checkpoints", "file": "../../../etc/passwd"},
        {"folder": "input", "file": checkpoint},
    ):
        found = json.loads(plan(server, empty, model=model)[2])
        assert (found["family"], found["grid"]["temporal"], found["latent"]) == ("SkyReels-V4", 4, [5, 8, 8])
    for model in (3, ["checkpoints", checkpoint], {"folder": 3, "file": checkpoint}):
        assert "is no JSON of the form" in error_of(plan(server, empty, model=model))


def test_time_is_told_once_it_is_known(server):
    empty = Document(width=64, height=64, frames=17, fps=16).json()
    for _ in range(100):
        found = json.loads(plan(server, empty)[2])
        if found["seconds"] is not None:
            break
        time.sleep(0.1)
    assert found["seconds"] > 0 and "about" in found["text"]


def text_of(**media) -> str:
    box = {"x": 0, "y": 0, "width": 64, "height": 64}
    document = json.loads(Document(width=64, height=64, frames=17, fps=16).json())
    placement = {"id": "a", "media": "it", "frame": 0, "frames": 2, "box": box}
    return json.dumps(document | {"media": {"it": {"kind": "image", **media}}, "placements": [placement]})


def test_plan_probes_files_and_says_what_wires_lack(server, folder):
    assert plan(server, text_of(file="sub/picture.png"))[0] == 200
    status, _, content = plan(server, text_of(input="image_0"))
    assert status == 400 and json.loads(content)["error"] == (
        'media "it": image_0 has not been seen yet: run the workflow once, then its size is known'
    )


@pytest.mark.parametrize(
    "text, status, message",
    [
        ("{", 400, "the canvas is no JSON"),
        (text_of(file="gone.png"), 404, "gone.png is not in ComfyUI's input folder"),
        (text_of(file="out.png"), 400, "out.png leads out of"),
        (Document(width=64, height=64, frames=16, fps=16).json(), 400, "length 16 is not 4n+1: use 13 or 17"),
        ("9" * (4 * 2**20 + 1), 400, "use at most 4194304, and keep media in files"),
        ("9" * (24 * 2**20 + 1), 413, "the request has more than"),
    ],
)
def test_canvases_without_a_plan(server, folder, text, status, message):
    answer = plan(server, text)
    assert answer[0] == status and message in error_of(answer)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"document": 3}', b"[" * 100_000, b"\xff"])
def test_requests_that_are_none(server, body):
    answer = post(server, body)
    assert answer[0] == 400 and 'of the form {"document": text}' in error_of(answer)


def test_seen_wired_mask_counts_as_white(server, folder):
    document = json.loads(text_of(input="image_0", width=64, height=64))
    document["media"]["shape"] = {"kind": "mask", "input": "mask_0", "width": 64, "height": 64, "frames": 1}
    document["placements"][0]["alpha"] = "shape"
    found = json.loads(plan(server, json.dumps(document))[2])
    assert found["given_pixels"][:3] == [64 * 64, 64 * 64, 0]
    assert {"level": "info", "text": "'shape' comes through a wire: here it counts as wholly white."} in found["notes"]


# --- who may ask, and how long it takes


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://elsewhere.example"}])
def test_other_sites_are_refused(server, folder, headers):
    assert get(server, "media", headers, file="clip.mkv")[0] == 403
    assert post(server, b"{}", headers)[0] == 403


def test_server_answers_while_sheets_are_drawn(server, folder):
    clip_file(folder / "long.mkv", 400, (160, 120))
    answers = []
    threads = [
        threading.Thread(
            target=lambda i=i: answers.append(get(server, "sheet", file="long.mkv", fps=16, frames=400, side=64 + i)[0])
        )
        for i in range(3)
    ]
    for thread in threads:
        thread.start()
    others = 0
    while any(thread.is_alive() for thread in threads):
        server.get("/system_stats")
        others += 1
    assert answers == [200] * 3 and others > 3


def test_nobody_waits_for_what_is_not_wanted_any_more(server, folder):
    """Requests that are given up leave the threads to the next one."""
    clip_file(folder / "given_up.mkv", 1000, (160, 120))
    for side in range(100, 130):
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", f"/skycanvas/sheet?file=given_up.mkv&fps=16&frames=1000&side={side}")
        connection.sock.close()
    before = set((server.base_directory / "temp" / "skycanvas" / "sheets").iterdir())
    assert get(server, "picture", file="sub/picture.png")[0] == 200
    time.sleep(1)
    drawn = set((server.base_directory / "temp" / "skycanvas" / "sheets").iterdir()) - before
    assert len(drawn) <= 4


# --- the node


def test_node_on_the_server(server, folder, run):
    """It is validated before it runs, runs again when a file has changed, and only then."""
    path = picture_file(folder / "own.png", (64, 64))
    prompt = {
        "1": {"class_type": "SkyCanvasEditor", "inputs": {"document": text_of(file="own.png")}},
        "2": {"class_type": "SkyCanvasPreview", "inputs": {"canvas": ["1", 0]}},
    }

    def sheet() -> bytes:
        result = run(prompt)
        assert result.end == "success", result.error
        (shown,) = result.outputs["2"]["images"]
        return shown["filename"]

    first = sheet()
    assert sheet() == first  # from the cache
    picture_file(path, (64, 64), seed=2)
    second = sheet()
    assert second != first and sheet() == second
    path.unlink()
    body = json.dumps({"prompt": prompt}).encode()
    request = urllib.request.Request(f"{server.url}/prompt", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    answer = json.loads(refused.value.read())
    (error,) = answer["node_errors"]["1"]["errors"]
    assert (
        error["type"] == "custom_validation_failed" and "own.png is not in ComfyUI's input folder" in error["details"]
    )


def test_wired_pictures_on_the_server(server, folder, run):
    """Names of inputs are those of the prompt; what was wired in comes back for the editor."""
    picture_file(folder / "wired.png", (64, 64))
    prompt = {
        "0": {"class_type": "LoadImage", "inputs": {"image": "wired.png"}},
        "1": {
            "class_type": "SkyCanvasEditor",
            "inputs": {"document": text_of(input="image_0"), "images.image_0": ["0", 0]},
        },
        "2": {"class_type": "SkyCanvasPreview", "inputs": {"canvas": ["1", 0]}},
    }
    result = run(prompt)
    assert result.end == "success", result.error
    (found,) = result.outputs["1"]["skycanvas_inputs"]
    assert (found["input"], found["kind"], found["width"], found["height"]) == ("image_0", "image", 64, 64)
    view = urllib.request.urlopen(f"{server.url}/view?{urllib.parse.urlencode(found['preview'])}", timeout=30).read()
    assert Image.open(io.BytesIO(view)).size == (64, 64)
    del prompt["1"]["inputs"]["images.image_0"]
    result = run(prompt)
    assert result.end == "error" and "input image_0 is not connected" in result.error


def test_the_media_of_the_pack_are_shown_too(server):
    status, _, content = get(server, "media", file="example:red_circle.mkv")
    assert status == 200 and json.loads(content)["frames"] == 17
    for name in ("example:../run.py", "example:nothing.png", "example:"):
        assert get(server, "media", file=name)[0] == 400
