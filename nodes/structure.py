"""The written form of a prompt (SkyReels-V4 sec. 4): a description, with what is said, sung, heard or written in tags.

`a man waves <dialogue>hello</dialogue>@audio_0 <sfx>wind</sfx>`. A tag such as @audio_0 names a reference. Errors say
what to write instead.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches

TAGS = ("dialogue", "sfx", "singing", "bgm", "text")
_STRUCTURE = re.compile(r"<(/?)([A-Za-z]+)>")
# Not the middle of a word: mail@example.com names no reference.
_REFERENCE = re.compile(r"(?<!\w)@[A-Za-z]\w*(?:-\w+)*", re.ASCII)


def check_structure(text: str) -> None:
    """ValueError if a structure tag is unknown, not closed, not opened, or inside another."""
    open_tag = ""
    for match in _STRUCTURE.finditer(text):
        shown, closes, tag = match[0], match[1], match[2].lower()
        if tag not in TAGS:
            meant = get_close_matches(tag, TAGS, n=1)
            use = f"<{meant[0]}>" if meant else "one of " + ", ".join(f"<{name}>" for name in TAGS)
            raise ValueError(f"{shown} is no tag of a prompt: use {use}")
        if closes and tag != open_tag:
            mend = f"close <{open_tag}> first" if open_tag else f"write <{tag}> before it, or leave it out"
            raise ValueError(f"{shown} closes what is not open: {mend}")
        if not closes and open_tag:
            raise ValueError(f"{shown} stands inside <{open_tag}>: write </{open_tag}> before it")
        open_tag = "" if closes else tag
    if open_tag:
        raise ValueError(f"<{open_tag}> is not closed: write </{open_tag}> where it ends")


def reference_tags(text: str) -> list[str]:
    """Tags of references that a prompt names, as they are written, in order, each once."""
    named: dict[str, str] = {}
    for tag in _REFERENCE.findall(text):
        named.setdefault(tag.lower(), tag)
    return list(named.values())


def check_references(text: str, wired: Collection[str]) -> None:
    """ValueError if the prompt names a reference that is not wired, or does not name one that is."""
    named = reference_tags(text)
    known, told = ({tag.lower() for tag in tags} for tags in (wired, named))
    if missing := [tag for tag in named if tag.lower() not in known]:
        mend = f"the canvas has {', '.join(wired)}" if wired else "connect a canvas with that reference to 'canvas'"
        raise ValueError(f"the prompt names {', '.join(missing)}, but there is no such reference: {mend}")
    if unnamed := [tag for tag in wired if tag.lower() not in told]:
        raise ValueError(
            f"the canvas has {', '.join(unnamed)}, which the prompt does not name: write the tag where the prompt "
            "speaks of it, or take the reference off the canvas"
        )


def structured(picture: str, parts: Mapping[str, str]) -> str:
    """The description, then each line of each part in its tag: `a man waves <dialogue>hello</dialogue>`.

    The description may hold tags of its own, where they belong to its sentences; a part may not: ValueError.
    """
    check_structure(picture)
    pieces = [" ".join(picture.split())]
    for tag, lines in parts.items():
        if match := _STRUCTURE.search(lines):
            raise ValueError(f"{tag} holds {match[0]}: write its words alone, they get their tags here")
        pieces += [f"<{tag}>{line.strip()}</{tag}>" for line in lines.splitlines() if line.strip()]
    return " ".join(filter(None, pieces))
