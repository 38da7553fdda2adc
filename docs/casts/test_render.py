"""Tests of `render`: run by `python3 -m unittest docs/casts/test_render.py`."""

import importlib.machinery
import importlib.util
import json
import pathlib
import re
import unittest

HERE = pathlib.Path(__file__).parent
loader = importlib.machinery.SourceFileLoader("render", str(HERE / "render"))
render = importlib.util.module_from_spec(importlib.util.spec_from_loader("render", loader))
loader.exec_module(render)


class Rendering(unittest.TestCase):
    def test_a_text_of_several_lines_stands_below_a_mark(self):
        answer = json.dumps({"stdout": "one\n  two\n", "code": 0, "more": ["x" * 60, "y" * 60]})
        told = '{\n  "stdout": |\n    one\n      two\n  "code": 0,\n  "more": [\n    "' + "x" * 60 + '",\n    "' + "y" * 60
        self.assertEqual(render.readable(answer), told + '"\n  ]\n}')

    def test_what_is_no_json_stays(self):
        for text in ("denied: `x`", "{ not json", "", "[redacted:key]\n"):
            self.assertEqual(render.readable(text), text)

    def test_a_cast_is_asciicast_and_tells_all(self):
        for path in sorted(HERE.glob("*.jsonl")):
            events = render.read(path)
            header, *lines = [json.loads(line) for line in render.as_cast("t", events).splitlines()]
            self.assertEqual((header["version"], header["width"]), (2, render.WIDTH))
            times = [line[0] for line in lines]
            self.assertEqual(times, sorted(times), path)
            self.assertTrue(all(line[1] == "o" for line in lines))
            shown = "".join(line[2] for line in lines)
            for event in events:
                if event["kind"] == "remark":
                    self.assertIn(event["text"], shown)

    def test_what_is_quoted_was_recorded(self):
        for page in [HERE.parent / "quick-start.md", HERE.parent / "fr/guide.md", *sorted((HERE.parent / "use-cases").glob("*.md"))]:
            text = page.read_text(encoding="utf-8")
            names = re.findall(r"casts/([a-z-]+)\.jsonl", text) or ["first-session"]
            recorded = "".join(render.as_text(render.read(HERE / f"{name}.jsonl")) for name in names).split("\n")
            for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL):
                if not block.startswith((">", "$", "[")):
                    continue
                at = 0
                for line in block.split("\n"):
                    if line.strip() in ("", "[...]"):
                        continue
                    self.assertIn(line, recorded[at:], page.name)
                    at = recorded.index(line, at) + 1

    def test_every_cast_is_of_its_recording(self):
        render.check(HERE)


if __name__ == "__main__":
    unittest.main()
