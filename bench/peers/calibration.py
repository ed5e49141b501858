"""How often a search is told right whether what it asks for is there: `calibrated` beside a flat cut-off.

usage: python bench/peers/calibration.py PROGRAM CAPTIONS.tar [LABELS.tar CLASSES.txt]

PROGRAM is a built clipsight, the tars are WebDataset shards of pictures with captions and with classes.
Pictures are taken out of the collection, all of them that show a subject, and what is left is indexed and
served; captions of what stayed and of what was taken out are asked for. A flat cut-off is chosen on every
second picture's queries; both are judged by the others. Nothing but the standard library is needed.
"""

import json
import pathlib
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.request

GOOD = 0.5
QUERIES = 200
SUBJECTS = {
    "dogs": r"dogs?|pupp(y|ies)",
    "bicycles": r"bik\w*|bicycl\w*|cycl\w*|motor\w*",
    "water": r"water|beach|ocean|sea|lake|river|pool|swim\w*|surf\w*|waves?",
    "snow": r"snow\w*|ski\w*|ice|sled\w*",
    "balls": r"ball|soccer|football|basketball|baseball|tennis|rugby|volleyball",
    "children": r"child(ren)?|boys?|girls?|kids?|bab(y|ies)|toddlers?",
    "climbing": r"climb\w*|rocks?|mountains?|cliff",
    "streets": r"streets?|cit(y|ies)|sidewalk|buildings?|cars?",
}


def members(shard):
    """The files of a shard by key and ending."""
    found = {}
    with tarfile.open(shard) as tar:
        for member in tar:
            key, ending = member.name.rsplit(".", 1)
            found.setdefault(key, {})[ending] = tar.extractfile(member).read()
    return found


def asked(program, pictures, queries):
    """Scores and calibrated values by picture for each query over a collection of these pictures."""
    with tempfile.TemporaryDirectory() as temp:
        folder, data = pathlib.Path(temp, "pictures"), str(pathlib.Path(temp, "data"))
        folder.mkdir()
        for key, bytes in pictures.items():
            (folder / f"{key}.jpg").write_bytes(bytes)
        subprocess.run([program, "index", str(folder), "--data", data], check=True, capture_output=True)
        words = [program, "serve", "--data", data, "--listen", "127.0.0.1:0"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            try:
                url = next(m[1] for line in server.stdout if (m := re.search(r"Open (http:\S+)", line)))
                return [search(url, query) for query in queries]
            finally:
                server.terminate()


def search(url, words):
    body = json.dumps({"terms": [{"text": words}], "limit": 1000}).encode()
    request = urllib.request.Request(url + "/v1/search", body, {"content-type": "application/json"})
    hits = json.load(urllib.request.urlopen(request))["hits"]
    return {pathlib.Path(hit["path"]).stem: (hit["score"], hit["calibrated"]) for hit in hits}


def rows(answers, right):
    """For each query: score and calibrated of the best right picture (None where it was taken out), and of
    the best of all."""
    made = []
    for hits, keys in zip(answers, right):
        there = [hits[key] for key in keys if key in hits]
        made.append((max(there) if there else None, max(hits.values())))
    return made


def judged(scenarios, measure, line):
    """Shares of queries, means over the scenarios: the right picture is above the line, anything is, and
    nothing is where nothing should be."""
    told = []
    for scenario in scenarios:
        inside = [(right[measure], best[measure]) for right, best in scenario if right]
        outside = [best[measure] for right, best in scenario if not right]
        own = sum(right >= line for right, _ in inside) / len(inside)
        some = sum(best >= line for _, best in inside) / len(inside)
        none = sum(best < line for best in outside) / len(outside)
        told.append((own, some, none))
    return [sum(column) / len(told) for column in zip(*told)]


def halves(scenarios):
    return [one[0::2] for one in scenarios], [one[1::2] for one in scenarios]


def best_line(scenarios, measure):
    """The line with most told right, in the sense of the first and the last share together."""
    seen = sorted({round(best[measure], 3) for scenario in scenarios for _, best in scenario})
    weight = lambda line: (lambda told: told[0] + told[2])(judged(scenarios, measure, line))
    return max(seen, key=weight)


def by_subject(program, shard):
    pictures = {key: (files["jpg"], files["txt"].decode().split("\n")) for key, files in members(shard).items()}
    draw = random.Random(7)
    for pattern in SUBJECTS.values():
        subject = re.compile(rf"\b({pattern})\b", re.I)
        gone = {key for key, (_, captions) in pictures.items() if any(map(subject.search, captions))}
        kept = {key: jpeg for key, (jpeg, _) in pictures.items() if key not in gone}
        inside = [(c, key) for key in kept for c in pictures[key][1] if c]
        outside = [(c, key) for key in sorted(gone) for c in pictures[key][1] if subject.search(c)]
        yield sampled(program, kept, inside, outside, draw)


def by_halves(program, shard):
    """Pictures taken out one by one, whatever else shows the same."""
    pictures = {key: (files["jpg"], files["txt"].decode().split("\n")) for key, files in members(shard).items()}
    draw = random.Random(8)
    keys = sorted(pictures)
    gone = set(draw.sample(keys, len(keys) // 2))
    kept = {key: pictures[key][0] for key in keys if key not in gone}
    queries = lambda some: [(c, key) for key in some for c in pictures[key][1] if c]
    yield sampled(program, kept, queries(kept), queries(sorted(gone)), draw)


def sampled(program, kept, inside, outside, draw):
    queries = draw.sample(inside, min(QUERIES, len(inside))) + draw.sample(outside, min(QUERIES, len(outside)))
    answers = asked(program, kept, [words for words, _ in queries])
    made = rows(answers, [[key] for _, key in queries])
    draw.shuffle(made)
    return made


def by_class(program, shard, classes):
    """Half of the classes are there, and each is asked for by its name."""
    names = [line.strip().replace("_", " ") for line in open(classes)]
    pictures = {key: (files["jpg"], int(files["cls"])) for key, files in members(shard).items()}
    draw = random.Random(9)
    for _ in range(3):
        there = set(draw.sample(range(len(names)), len(names) // 2))
        kept = {key: jpeg for key, (jpeg, label) in pictures.items() if label in there}
        answers = asked(program, kept, [f"a photo of a {name.lower()}" for name in names])
        right = [[k for k in kept if pictures[k][1] == label] for label in range(len(names))]
        made = rows(answers, right)
        draw.shuffle(made)
        yield made


def main(program, captions, labels=None, classes=None):
    sets = {"captions, each picture for itself": list(by_halves(program, captions))}
    sets["captions, all of a subject"] = list(by_subject(program, captions))
    if labels:
        sets["names of objects"] = list(by_class(program, labels, classes))
        sets["both of these"] = sets["captions, all of a subject"] + sets["names of objects"]
    print("| taken out | line | its picture above | anything above | nothing, rightly | mean |")
    print("|---|---|---|---|---|---|")
    for name, scenarios in sets.items():
        chosen_on, judged_on = halves(scenarios)
        flat, tuned = best_line(chosen_on, 0), best_line(chosen_on, 1)
        for what, measure, line in [("score", 0, flat), ("calibrated", 1, GOOD), ("calibrated", 1, tuned)]:
            own, some, none = judged(judged_on, measure, line)
            shares = " | ".join(f"{100 * share:.0f} %" for share in (own, some, none, (own + none) / 2))
            print(f"| {name} | {what} {line:.2f} | {shares} |", flush=True)


main(*sys.argv[1:])
