"""What must hold of the harness whatever the machine, without any peer."""

import json
import sys
import tempfile
import unittest
import xml.dom.minidom
from pathlib import Path

from harness import catalogue, chart, install, measure, rounds, table

BULLMQ = catalogue.named(["bullmq-always"])[0]
NATS = catalogue.named(["nats-default"])[0]
ABOUT = dict(date="2026-01-01", command="run", kew="0", cores="2", memory="4", disk="1", system="Linux", rounds=3)


def comparison(peer, kew, theirs, void=""):
    made = rounds.Comparison(peer, "process", jobs=100, kew_full=kew, theirs=theirs, void=void)
    if peer.durability == "B":
        made.kew_normal = [rate * 2 for rate in kew]
    return made


class Ratios(unittest.TestCase):
    def test_a_ratio_is_that_of_the_medians(self):
        self.assertEqual(comparison(BULLMQ, [100, 500, 110], [50, 1, 60]).ratio, 110 / 50)

    def test_a_peer_is_compared_at_its_own_durability_too(self):
        self.assertEqual(comparison(NATS, [100], [50]).ratio_at_class, 4)
        self.assertEqual(comparison(BULLMQ, [100], [50]).ratio_at_class, 2)

    def test_a_faster_peer_is_called_faster(self):
        document = table.document([comparison(NATS, [100], [400])], [], ABOUT)
        self.assertIn("**0.25, NATS JetStream, default is faster**", document)

    def test_a_void_figure_is_no_figure(self):
        document = table.document([comparison(BULLMQ, [100], [], "99 of 100 jobs are in its store")], [], ABOUT)
        self.assertIn("void: 99 of 100 jobs are in its store", document)

    def test_what_is_left_out_says_why(self):
        self.assertIn("is left out: no redis-server", table.document([], [(BULLMQ, "no redis-server")], ABOUT))


class Measurements(unittest.TestCase):
    def run_program(self, line):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "load.py"
            program.write_text(f"print({json.dumps(line)})")
            return measure.run([sys.executable, str(program)], folder)

    def test_a_program_prints_one_line(self):
        self.assertEqual(self.run_program('{"jobs": 1}'), {"jobs": 1})
        with self.assertRaises(measure.Void):
            self.run_program("nothing")

    def test_the_line_that_names_the_error_is_the_reason(self):
        self.assertEqual(measure.reason("x\nTypeError: no\n    at file\n\nNode.js v24\n"), "TypeError: no")


class Catalogue(unittest.TestCase):
    def test_a_folder_names_all_its_configurations(self):
        self.assertEqual([peer.name for peer in catalogue.named(["effectum"])], ["effectum-as-shipped", "effectum-wal"])

    def test_a_peer_that_is_unknown_is_refused(self):
        with self.assertRaises(SystemExit):
            catalogue.named(["nothing"])

    def test_every_peer_is_pinned_and_has_every_work(self):
        for peer in catalogue.ALL:
            self.assertTrue(install.pinned_version(peer))
            self.assertEqual(set(peer.jobs), set(catalogue.WORKS))


class Chart(unittest.TestCase):
    def test_it_is_an_image_even_of_one_bar(self):
        drawn = chart.svg([comparison(BULLMQ, [100], [100]), comparison(NATS, [], [], "void")])
        self.assertEqual(xml.dom.minidom.parseString(drawn).documentElement.tagName, "svg")


if __name__ == "__main__":
    unittest.main()
