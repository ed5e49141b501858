"""Tables of drawings from npm packages of emoji, unpacked in one folder.

    python3 tables_of_drawings.py FOLDER

FOLDER has twemoji/, openmoji/, fluent/ (pictures whose files are named by code points) and emojibase/
(what each is called). FOLDER/STYLE.jsonl is written for each style: a line for a picture with its captions.
"""

import json
import sys
from pathlib import Path

PICTURES = {"twemoji": "*.svg", "openmoji": "color/svg/*.svg", "fluent": "assets/*.webp"}
TRAINED = ["twemoji", "openmoji"]
# Skin tones and hair are parts of others.
COMPONENTS = 2
TAGS = 6


def key(code_points: str) -> str:
    """Code points without the selector that asks for a colored picture, which some styles leave out."""
    return code_points.lower().replace("-fe0f", "")


def captions(name: str, tags: list[str]) -> list[str]:
    """What is said of a drawing: twice that it is one of its name, as people search, and its tags."""
    drawing, tags = f"a drawing of a {name}", ", ".join(tags[:TAGS] or [name])
    return [drawing, name, drawing, f"a drawing: {tags}", f"{name}, {tags}"]


def main(folder: Path) -> None:
    emoji = json.loads((folder / "emojibase/en/data.json").read_text(encoding="utf-8"))
    emoji = [one for one in emoji if one.get("group", COMPONENTS) != COMPONENTS]
    for style, pattern in PICTURES.items():
        files = {key(file.stem): file for file in folder.joinpath(style).glob(pattern)}
        lines = []
        for one in sorted(emoji, key=lambda one: key(one["hexcode"])):
            file = files.get(key(one["hexcode"]))
            if file is None:
                continue
            name = one["label"].lower()
            said = captions(name, [tag.lower() for tag in one.get("tags", [])])
            said = said if style in TRAINED else said[:1]
            row = {"image": file.relative_to(folder).as_posix(), "captions": said}
            lines.append(json.dumps(row, ensure_ascii=False))
        table, text = folder / f"{style}.jsonl", "\n".join(lines) + "\n"
        # What was computed over a table is kept by its time of change.
        if not table.exists() or table.read_text(encoding="utf-8") != text:
            table.write_text(text, encoding="utf-8")
        print(f"{style}: {len(lines)} of {len(files)} pictures have a name")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
