"""The canvas document: the vectors shared with other readers, limits, and properties of every valid document."""

import json
from decimal import Decimal
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from canvas.document import (
    MAX_JSON,
    MAX_PLACEMENTS,
    MAX_SIDE,
    MIGRATIONS,
    VERSION,
    Box,
    CanvasError,
    Document,
    Key,
    Media,
    Moving,
    Placement,
    Sound,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "canvas"
HEAD = {"format": "skycanvas", "version": 1, "width": 64, "height": 48, "frames": 17, "fps": 16}
BOX = Box(x=0, y=0, width=32, height=24)
SETTINGS = settings(max_examples=60, deadline=None)


def vectors(name: str):
    rows = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(row, id=row["name"]) for row in rows]


def text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def renaming(names: dict[str, str]):
    return lambda data: {names.get(key, key): value for key, value in data.items()}


# --- vectors


def test_every_vector_file_is_run():
    assert {path.stem for path in VECTORS.glob("*.json")} == {"good", "bad", "migration"}


@pytest.mark.parametrize("vector", vectors("good"))
def test_good_document(vector):
    document = Document.parse(text(vector["input"]))
    assert document.json() == vector["output"]
    assert document.digest() == vector["sha256"]
    assert Document.parse(vector["output"]) == document


@pytest.mark.parametrize("vector", vectors("bad"))
def test_bad_document(vector):
    with pytest.raises(CanvasError) as error:
        Document.parse(text(vector["input"]))
    assert str(error.value).startswith(vector["error"])


@pytest.mark.parametrize("vector", vectors("migration"))
def test_migration(vector):
    migrations = MIGRATIONS
    if "rename" in vector:
        migrations = {int(version): renaming(names) for version, names in vector["rename"].items()}
    if "error" in vector:
        with pytest.raises(CanvasError) as error:
            Document.parse(text(vector["input"]), migrations)
        assert str(error.value).startswith(vector["error"])
    else:
        document = Document.parse(text(vector["input"]), migrations)
        assert (document.json(), document.digest()) == (vector["output"], vector["sha256"])


def test_every_older_version_that_is_read_leads_to_the_present_one():
    assert sorted(MIGRATIONS) == list(range(VERSION - len(MIGRATIONS), VERSION))


# --- limits


def placements(count: int) -> list[dict]:
    box = {"x": 0, "y": 0, "width": 8, "height": 8}
    return [{"id": f"p{i}", "media": "pic", "frame": i % 17, "frames": 1, "box": box} for i in range(count)]


def with_placements(count: int) -> str:
    media = {"pic": {"kind": "image", "width": 8, "height": 8}}
    return json.dumps({**HEAD, "media": media, "placements": placements(count)})


def test_1000_placements_are_read_and_written():
    document = Document.parse(with_placements(MAX_PLACEMENTS))
    assert len(document.placements) == MAX_PLACEMENTS
    assert Document.parse(document.json()) == document


def test_10000_placements_are_refused():
    with pytest.raises(CanvasError, match="^placements has 10000 entries: use 1000 or fewer"):
        Document.parse(with_placements(10_000))


@pytest.mark.parametrize("character", [" ", "9", "[", '"', "é"])
def test_50_MB_are_refused_before_they_are_parsed(character):
    megabytes = character * 50_000_000
    start = perf_counter()
    with pytest.raises(CanvasError, match=f"^the canvas has 50000000 bytes: use at most {MAX_JSON}"):
        Document.parse(megabytes)
    assert perf_counter() - start < 0.1


def test_the_limit_counts_bytes():
    room = MAX_JSON - len(json.dumps(HEAD))
    assert Document.parse(json.dumps(HEAD) + " " * room).width == 64
    with pytest.raises(CanvasError, match=f"{MAX_JSON + 1} bytes"):
        Document.parse(json.dumps(HEAD) + " " * (room + 1))
    with pytest.raises(CanvasError, match="bytes"):
        Document.parse('"' + "é" * (MAX_JSON // 2) + '"')


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        ("[" * 4_000_000, "nested too deeply"),
        ('{"a":' * 800_000, "nested too deeply"),
        (f'{{"width":{"9" * 4_000_000}}}', "has 4000000 digits"),
        (f'{{"width":-{"9" * 4_000_000}}}', "has 4000001 digits"),
        ("{" + ",".join(f'"{i}":0' for i in range(300_000)) + ',"0":0}', 'the key "0" stands twice'),
        (json.dumps({**HEAD, "x" * 4_000_000: 0}), r"^x+\.* is no field of a canvas"),
        (json.dumps({**HEAD, "format": "x" * 4_000_000}), "^format is"),
        (json.dumps({**HEAD, **{f"x{i}": 0 for i in range(100_000)}}), "and 99999 more"),
    ],
    ids=["lists", "objects", "digits", "minus digits", "keys", "a long key", "a long value", "many errors"],
)
def test_hostile_text_is_refused_fast_and_in_few_words(hostile, message):
    start = perf_counter()
    with pytest.raises(CanvasError, match=message) as error:
        Document.parse(hostile)
    assert perf_counter() - start < 10
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0}, "^width is 0: use 1 or more$"),
        ({"width": 10**5000}, "^width is a number of more than 20 digits: use 16384 or less$"),
        ({"x": float("nan"), "y": "0"}, r"^x is NaN: use a whole number \(and 1 more\)$"),
        ({"z": 1}, "^z is no field of a canvas: remove it$"),
    ],
)
def test_what_is_built_in_python_is_checked_too(fields, message):
    with pytest.raises(CanvasError, match=message):
        Box(**{**dict(BOX), **fields})


def test_nothing_can_be_changed():
    document = Document.parse(with_placements(1))
    for item, field in ((document, "width"), (document.placements[0], "frame"), (document.placements[0].box, "x")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(item, field, 1)
    with pytest.raises(TypeError):
        document.media["pic"] = document.media["pic"]
    assert isinstance(document.placements, tuple)
    assert document.json() == Document.parse(with_placements(1)).json()


def test_replace_checks_anew_and_leaves_the_first_alone():
    document = Document.parse(with_placements(17))
    longer = document.replace(frames=33)
    assert (document.frames, longer.frames, longer.placements) == (17, 33, document.placements)
    with pytest.raises(CanvasError, match=r"^placements\[5\].frame is 5, outside the canvas of 5 frames"):
        document.replace(frames=5)


# --- properties

SMALL = st.integers(1, 40)
NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=6)
SECONDS = st.floats(0, 0.99, allow_subnormal=False)


@st.composite
def boxes(draw, width: int, height: int) -> Box:
    """Boxes that touch a frame of that size."""
    wide, high = draw(SMALL), draw(SMALL)
    x, y = draw(st.integers(1 - wide, width - 1)), draw(st.integers(1 - high, height - 1))
    return Box(x=x, y=y, width=wide, height=high)


@st.composite
def spans(draw, frames: int) -> dict[str, int]:
    first = draw(st.integers(0, frames - 1))
    return {"frame": first, "frames": draw(st.integers(1, frames - first))}


@st.composite
def documents(draw) -> Document:
    width, height, frames = draw(SMALL), draw(SMALL), draw(SMALL)
    names = draw(st.lists(NAMES, min_size=4, max_size=4, unique=True))
    image, sound, mask, file = names
    media = {
        image: Media(kind="image", width=draw(SMALL), height=draw(SMALL)),
        sound: Media(kind="sound", samples=48000, sample_rate=48000, channels=draw(st.integers(1, 8))),
        mask: Media(kind="mask", width=width, height=height, frames=1),
        file: Media(kind="clip", file=draw(NAMES.filter(lambda name: not set(name) & set("/\\:.")))),
    }
    ids = iter(draw(st.lists(NAMES, min_size=10, max_size=10, unique=True)))

    def moving() -> dict:
        span = draw(spans(frames))
        steps = draw(st.sets(st.integers(1, span["frames"] - 1), max_size=4)) if span["frames"] > 1 else ()
        path = [{"at": step, "box": draw(boxes(width, height))} for step in sorted(steps)]
        return {**span, "box": draw(boxes(width, height)), "path": path}

    def placement() -> dict:
        look = {
            "fit": draw(st.sampled_from(("stretch", "contain", "cover"))),
            "role": draw(st.sampled_from(("keep", "guide"))),
        }
        return {"id": next(ids), "media": draw(st.sampled_from((image, file))), **moving(), **look}

    def region() -> dict:
        action = draw(st.sampled_from(("generate", "keep")))
        kind = draw(st.sampled_from(("box", "mask", "span")))
        if kind == "box":
            more = moving()
        elif kind == "mask":
            more = {"media": mask, **draw(spans(frames)), "box": {"x": 0, "y": 0, "width": width, "height": height}}
        else:
            more = {"time": draw(st.floats(0, frames / 16, exclude_max=True)), "duration": draw(st.floats(1e-9, 1e6))}
        return {"kind": kind, "id": next(ids), "action": action, **more}

    start = draw(SECONDS)
    time = draw(st.floats(0, frames / 16, exclude_max=True))
    return Document(
        width=width,
        height=height,
        frames=frames,
        fps=16,
        media=media,
        placements=[placement() for _ in range(draw(st.integers(0, 4)))],
        sounds=[Sound(id=next(ids), media=sound, time=time, start=start, duration=1 - start)],
        regions=[region() for _ in range(draw(st.integers(0, 4)))],
        references=[{"tag": "@image_1", "media": image}, {"tag": "@Actor-0", "media": sound}][
            : draw(st.integers(0, 2))
        ],
    )


@SETTINGS
@given(documents())
def test_round_trip(document):
    again = Document.parse(document.json())
    assert again == document
    assert hash(again) == hash(document)
    assert again.json() == document.json()
    assert again.digest() == document.digest()


@SETTINGS
@given(documents(), st.randoms())
def test_the_order_of_keys_and_spaces_mean_nothing(document, random):
    def shuffled(value):
        if isinstance(value, list):
            return [shuffled(item) for item in value]
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in random.sample(list(value), len(value))}
        return value

    assert Document.parse(json.dumps(shuffled(json.loads(document.json())), indent=2)).digest() == document.digest()


@SETTINGS
@given(documents(), st.data())
def test_any_difference_changes_the_digest(document, data):
    changes = {
        "fps": 15.5,
        "frames": document.frames + 1,
        "media": {**document.media, "new": Media(kind="mask", file="a")},
    }
    if document.regions:
        changes["regions"] = document.regions[:-1]
    if len(document.placements) > 1:
        changes["placements"] = document.placements[::-1]
    field = data.draw(st.sampled_from(sorted(changes)))
    changed = document.replace(**{field: changes[field]})
    assert changed != document
    assert changed.digest() != document.digest()


@SETTINGS
@given(st.floats(0, 999_999) | st.floats(0, 1e-3))
def test_numbers_are_written_as_javascript_writes_them(number):
    region = {"kind": "span", "id": "a", "action": "keep", "time": number, "duration": 1}
    written = Document(width=1, height=1, frames=100_000, fps=0.1, regions=[region]).json()
    written = written.partition('"time":')[2].partition("}")[0]
    assert Decimal(written) == Decimal(repr(number))  # the shortest digits that mean this number
    assert not written.endswith(".0")
    assert ("e" in written) == (0 < number < 1e-6)  # ECMAScript, Number::toString
    assert "e-0" not in written


@SETTINGS
@given(documents(), st.data())
def test_a_damaged_document_is_a_canvas_error_or_a_valid_document(document, data):
    """Whatever stands in the place of any value: no other exception, and nothing invalid gets through."""
    tree = json.loads(document.json())
    places = []

    def collect(node):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                collect(node[key])

    collect(tree)
    node, key = data.draw(st.sampled_from(places))
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=4,
    )
    node[key] = data.draw(json_values)
    try:
        damaged = Document.parse(json.dumps(tree))
    except CanvasError as error:
        assert len(str(error)) < 1500
        str(error).encode()  # can be printed and sent
    else:
        assert Document.parse(damaged.json()) == damaged


@SETTINGS
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_canvas_error(text):
    with pytest.raises(CanvasError):
        Document.parse(text)


# --- motion

ANY_BOX = st.builds(
    Box, x=st.integers(-60, 60), y=st.integers(-60, 60), width=st.integers(1, 40), height=st.integers(1, 40)
)
PATHS = st.dictionaries(st.integers(1, 11), ANY_BOX, min_size=1, max_size=4).map(
    lambda boxes: tuple(Key(at=at, box=boxes[at]) for at in sorted(boxes))
)
MOVING = st.builds(Moving, frame=st.integers(0, 5), frames=st.just(12), box=ANY_BOX, path=PATHS)


def test_box_at_moves_linearly_and_rounds_half_up():
    box, to = Box(x=-2, y=0, width=4, height=4), Box(x=0, y=8, width=8, height=2)
    move = Moving(frame=3, frames=5, box=box, path=(Key(at=4, box=to),))
    assert [tuple(dict(move.box_at(frame)).values()) for frame in range(3, 8)] == [
        (-2, 0, 4, 4),
        (-1, 2, 5, 4),  # edges -1.5, 2, 3.5, 5.5
        (-1, 4, 6, 3),
        (0, 6, 7, 3),  # edges -0.5, 6, 6.5, 8.5
        (0, 8, 8, 2),
    ]


@SETTINGS
@given(MOVING)
def test_a_moving_box_passes_its_keys_and_never_vanishes(move):
    assert move.box_at(move.frame) == move.box
    assert all(move.box_at(move.frame + key.at) == key.box for key in move.path)
    assert move.box_at(move.frame + move.frames - 1) == move.path[-1].box
    widest = max(move.box.width, *(key.box.width for key in move.path))
    assert all(1 <= move.box_at(frame).width <= widest for frame in range(move.frame, move.frame + move.frames))


@SETTINGS
@given(MOVING, SMALL, SMALL)
def test_touches_is_whether_any_frame_touches(move, width, height):
    frames = range(move.frame, move.frame + move.frames)
    assert move.touches(width, height) == any(move.box_at(frame).touches(width, height) for frame in frames)


def test_1000_boxes_that_fly_through_are_checked_at_once():
    far = Box(x=-MAX_SIDE, y=0, width=8, height=8)
    path = (Key(at=99_999, box=Box(x=MAX_SIDE, y=0, width=8, height=8)),)
    moving = {"media": "pic", "frame": 0, "frames": 100_000, "box": far, "path": path}
    items = [Placement(id=str(i), **moving) for i in range(MAX_PLACEMENTS)]
    media = {"pic": Media(kind="image", width=8, height=8)}
    start = perf_counter()
    Document(width=64, height=48, frames=100_000, fps=24, media=media, placements=items)
    assert perf_counter() - start < 5


@pytest.mark.parametrize("fps", [8, 12, 16, 24, 23.976, 25, 30, 60])
def test_a_clip_at_the_canvas_rate_shows_each_of_its_frames(fps):
    media = Media(kind="clip", width=8, height=8, frames=300, fps=fps)
    placement = Placement(id="a", media="clip", frame=7, frames=200, box=BOX, start=100 / fps)
    document = Document(width=64, height=48, frames=241, fps=fps, media={"clip": media}, placements=(placement,))
    assert [document.clip_frame(placement, frame) for frame in range(7, 207)] == list(range(100, 300))


def test_a_clip_of_another_rate_is_resampled_by_time():
    media = Media(kind="clip", width=8, height=8, frames=4, fps=8)
    placement = Placement(id="a", media="clip", frame=0, frames=8, box=BOX)
    document = Document(width=64, height=48, frames=17, fps=16, media={"clip": media}, placements=(placement,))
    assert [document.clip_frame(placement, frame) for frame in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
