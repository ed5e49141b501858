"""A person's first program: the client that a generator makes of the OpenAPI document, at work.

usage: client.py PROGRAM, with the generated package `clipsight_client` on the path.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from clipsight_client.api.default import add, classify, delete, embed, model, picture, search
from clipsight_client.client import Client
from clipsight_client.models import (
    AddBody,
    Classify,
    ClassifyFilesBody,
    Problem,
    Query,
    SearchFilesBody,
    TermType0,
    TermType2,
    Texts,
)
from clipsight_client.types import File

DEMO = pathlib.Path(__file__).parents[2] / "demo" / "caltech101"
PROGRAM = sys.argv.pop(1)


def file(name):
    return File(payload=open(DEMO / name, "rb"), file_name=name, mime_type="image/jpeg")


def accepted(answer):
    """The answer, which is no problem."""
    assert not isinstance(answer, Problem), answer
    return answer


class GeneratedClient(unittest.TestCase):
    """Each test on a server of its own that holds two pictures, both added by the client."""

    def setUp(self):
        self.data = tempfile.TemporaryDirectory()
        self.addCleanup(self.data.cleanup)
        words = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--data", self.data.name]
        self.server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop)
        # The line "Open http://… in a browser" says where.
        address = next(found for line in self.server.stdout if (found := re.search(r"Open (http:\S+)", line)))
        self.client = Client(base_url=address[1], raise_on_unexpected_status=True, timeout=60)
        pictures = [file("pizza_image_0021.jpg"), file("sunflower_image_0036.jpg")]
        added = add.sync(client=self.client, body=AddBody(image=pictures))
        self.assertEqual([one.status for one in added.pictures], ["indexed", "indexed"])
        self.pizza = added.pictures[0].id

    def stop(self):
        self.server.terminate()
        self.server.wait(timeout=30)
        self.server.stdout.close()

    def test_words_and_pictures_find_pictures(self):
        found = search.sync(client=self.client, body=Query(terms=[TermType0(text="a pizza")]))
        self.assertEqual(found.hits[0].id, self.pizza)
        self.assertGreater(found.hits[0].calibrated, found.hits[1].calibrated)
        body = SearchFilesBody(query=Query(terms=[TermType2(image="image")]), image=[file("sunflower_image_0036.jpg")])
        found = accepted(search.sync(client=self.client, body=body))
        self.assertEqual(found.hits[0].path, "sunflower_image_0036.jpg")
        self.assertIsNone(found.hits[0].calibrated)

    def test_a_stored_and_a_sent_picture_are_classified(self):
        stored = Classify(labels=["a pizza", "a flower"], picture=self.pizza)
        self.assertEqual(classify.sync(client=self.client, body=stored).labels[0].label, "a pizza")
        sent = ClassifyFilesBody(query=Classify(labels=["a pizza", "a flower"]), image=[file("sunflower_image_0036.jpg")])
        self.assertEqual(accepted(classify.sync(client=self.client, body=sent)).labels[0].label, "a flower")

    def test_vectors_are_those_of_the_model(self):
        made = embed.sync(client=self.client, body=Texts(texts=["a dog"]))
        told = model.sync(client=self.client)
        self.assertEqual((made.model, len(made.embeddings[0])), (told.id, told.dim))

    def test_what_is_deleted_is_gone_and_said_so(self):
        self.assertEqual(delete.sync_detailed(id=self.pizza, client=self.client).status_code, 204)
        problem = picture.sync(id=self.pizza, client=self.client)
        self.assertIsInstance(problem, Problem)
        self.assertIn(self.pizza, problem.detail)


unittest.main()
