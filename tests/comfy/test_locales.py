"""Chinese and Japanese: every word of a node, and every help page, beside its English original.

English needs no locale file: the page falls back to the schemas, and to web/docs/<node>.md.
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "web" / "docs"
LOCALES = ("zh", "ja")
HIDDEN = "hidden"  # inputs that ComfyUI fills in
CJK = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
SENTENCE = re.compile(r"(?:\b[A-Za-z]+ ){4}")  # what is left of an English sentence
# What a translation has to repeat: numbers, tags of references, tags of prompts, names of files.
FACTS = re.compile(r"@[A-Za-z]\w*(?:-\d+)?|</?[a-z]+>|\d+(?:\.\d+)?", re.ASCII)
SYNTAX = re.compile(r"[@{}|]")  # the front end's message syntax, where it does not take a text as it stands


@pytest.fixture(scope="module")
def infos(pack):
    return {node.GET_SCHEMA().node_id: node.GET_NODE_INFO_V1() for node in pack.nodes}


def read(locale, name):
    return json.loads((ROOT / "locales" / locale / f"{name}.json").read_text("utf-8"))


def english(info):
    """The words of a node as the locale files arrange them, each with what the schema says."""
    inputs = {}
    for section, specs in info["input"].items():
        if section != HIDDEN:
            for name, (_, *options) in specs.items():
                tooltip = options[0].get("tooltip") if options else None
                inputs[name] = {"name": name} | ({"tooltip": tooltip} if tooltip else {})
    outputs = {}
    for i, (kind, name, tooltip) in enumerate(
        zip(info["output"], info["output_name"], info["output_tooltips"], strict=True)
    ):
        # an output that is called as its type takes the type's name from the front end
        words = ({"name": name} if name != kind else {}) | ({"tooltip": tooltip} if tooltip else {})
        if words:
            outputs[str(i)] = words
    words = {"display_name": info["display_name"], "description": info["description"], "inputs": inputs}
    return words | ({"outputs": outputs} if outputs else {})


def leaves(words, path=()):
    for key, value in words.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def test_locales_are_those_tested():
    assert {path.name for path in (ROOT / "locales").iterdir()} == set(LOCALES)


@pytest.mark.parametrize("locale", LOCALES)
def test_every_word_of_every_node_is_translated_and_no_other(infos, locale):
    originals = dict(leaves({name: english(info) for name, info in infos.items()}))
    translations = dict(leaves(read(locale, "nodeDefs")))
    assert translations.keys() == originals.keys()
    for path, text in translations.items():
        if path[-1] in ("tooltip", "description"):
            assert CJK.search(text) and not SENTENCE.search(text), (path, text)
            plain = re.sub(r"\{'([@{}|])'\}", r"\1", text)
            missing = Counter(FACTS.findall(originals[path])) - Counter(FACTS.findall(plain))
            assert not missing, (path, text, missing)
        if path[-1] != "tooltip":  # tooltips are shown as they stand, all else is read as a message
            assert not SYNTAX.search(re.sub(r"\{'[@{}|]'\}", "", text)), (path, text)


@pytest.mark.parametrize("locale", LOCALES)
def test_names_tell_nodes_and_inputs_apart(locale):
    words = read(locale, "nodeDefs")
    assert len({node["display_name"] for node in words.values()}) == len(words)
    for name, node in words.items():
        names = [entry["name"] for entry in node["inputs"].values()]
        assert len(set(names)) == len(names), (name, names)


@pytest.mark.parametrize("locale", LOCALES)
def test_categories_that_the_front_end_does_not_know(infos, locale):
    known = {
        "SkyCanvas",
        "conditioning",
        "latent",
        "loaders",
        "sampling",
        "training",
    }  # a name, and the front end's own
    used = {part for info in infos.values() for part in info["category"].split("/")}
    assert read(locale, "main") == {"nodeCategories": read(locale, "main")["nodeCategories"]}
    assert read(locale, "main")["nodeCategories"].keys() == used - known


# --- help pages


def pages():
    return sorted(path.stem for path in DOCS.glob("*.md"))


def structure(text):
    """What a page and its translation share: headings, bullets, tables with their columns, paragraphs, code."""
    blocks = [re.sub(r"\s*\n\s*", " ", block) for block in re.split(r"\n(?=\* |[|#])|\n{2,}", text)]
    kinds = []
    for block in blocks:
        heading = re.match(r"#+ ", block)
        if heading:
            kinds.append(heading[0])
        elif block.startswith("|"):
            kinds.append("|" * re.sub(r"`[^`]*`", "", block).count("|"))
        else:
            kinds.append("* " if block.startswith("* ") else "text")
    return kinds


def code(text):
    """Spans of code, in whatever order the sentence wants them, and the indented blocks."""
    blocks = re.findall(r"^ {4}\S.*$", text, re.M)
    return Counter(re.findall(r"`([^`]+)`", re.sub(r"\s*\n\s*", " ", text))), blocks


def test_every_node_has_its_pages(infos):
    assert set(pages()) == infos.keys()
    for locale in LOCALES:
        assert {path.parent.name for path in DOCS.glob(f"*/{locale}.md")} == infos.keys()


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("name", pages())
def test_page_says_what_the_english_one_says(infos, name, locale):
    original = (DOCS / f"{name}.md").read_text("utf-8")
    translation = (DOCS / name / f"{locale}.md").read_text("utf-8")
    assert structure(translation) == structure(original)
    assert code(translation) == code(original)
    plain = [re.sub(r"`[^`]*`|^ {4}.*$|^\|[-|]+\|$", "", text, flags=re.M) for text in (original, translation)]
    missing = Counter(FACTS.findall(plain[0])) - Counter(FACTS.findall(plain[1]))
    assert not missing
    assert CJK.search(plain[1]) and not SENTENCE.search(plain[1])


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("name", pages())
def test_page_calls_things_as_the_nodes_do(infos, name, locale):
    words, quotes = read(locale, "nodeDefs"), {"zh": "“{}”", "ja": "「{}」"}[locale]
    original = re.sub(r"\s*\n\s*", " ", (DOCS / f"{name}.md").read_text("utf-8"))
    translation = (DOCS / name / f"{locale}.md").read_text("utf-8")
    assert translation.startswith(f"# {words[name]['display_name']}\n")
    for node, info in infos.items():
        if f"*{info['display_name']}*" in original.replace("**", ""):
            assert quotes.format(words[node]["display_name"]) in translation
    own, inputs = english(infos[name]), words[name]["inputs"]
    for field in re.findall(r"\*\*(\w+)\*\*", original):
        if field in own["inputs"]:
            assert f"**{inputs[field]['name']}**" in translation


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_page_shows_its_node(path):
    """The page looks pictures up from the folder of all pages, in every language."""
    node = path.stem if path.parent == DOCS else path.parent.name
    assert f"]({node}/node.png)" in path.read_text(encoding="utf-8")
    assert Image.open(DOCS / node / "node.png").width > 100
