"""Traces: made, replayed against the index, and malformed."""

import json

from harness import CliTest, main


class Generator(CliTest):
    def test_the_same_seed_gives_the_same_trace(self):
        options = ("trace", "--sessions", 50, "--duration", 600)
        first = self.succeed(*options, "--seed", 3).stdout
        self.assertEqual(first, self.succeed(*options, "--seed", 3).stdout)
        self.assertNotEqual(first, self.succeed(*options, "--seed", 4).stdout)

    def test_every_line_has_the_fields_of_the_format(self):
        self.succeed("trace", "--sessions", 20, "--out", self.path("made.jsonl"))
        with open(self.path("made.jsonl"), encoding="utf-8") as text:
            lines = [json.loads(line) for line in text]
        self.assertGreater(len(lines), 20)
        for line in lines:
            self.assertLessEqual({"timestamp", "input_length", "output_length", "hash_ids"},
                                 set(line))

    def test_a_folder_that_is_not_there(self):
        self.refuse("trace", "--sessions", 5, "--out", self.path("absent", "t.jsonl"), code=2,
                    words=["absent"])


    def test_no_space(self):
        self.refuse("trace", "--sessions", 200, "--out", "/dev/full", code=1, words=["/dev/full"])
        self.refuse("replay", self.tiny_trace(), "--index-only", "--capacity-blocks", 10, "--json",
                    "/dev/full", code=1, words=["/dev/full"])


class IndexReplay(CliTest):
    def test_counts_leading_runs(self):
        trace = self.tiny_trace(requests=6)
        row = self.rows("replay", trace, "--index-only", "--policy", "lru", "--capacity-blocks",
                        1000)[0]
        # Conversations of 5, 8 and 11 blocks, twice; the first two blocks of all are the same.
        self.assertEqual(row["blocks"], 48)
        self.assertEqual(row["hit_blocks"], (0 + 5 + 8) + (2 + 5 + 8))
        self.assertAlmostEqual(row["prefix_hit_ratio"], 28 / 48)
        self.assertEqual((row["bench"], row["method"]), ("replay-index", "lru"))

    def test_lists_give_a_row_for_each_case(self):
        rows = self.rows("replay", self.tiny_trace(), "--index-only", "--policy", "lru,default",
                         "--capacity-blocks", "10,100")
        self.assertEqual([(row["case"], row["method"]) for row in rows],
                         [("capacity=10", "lru"), ("capacity=10", "default"),
                          ("capacity=100", "lru"), ("capacity=100", "default")])

    def test_reads_standard_input(self):
        trace = self.succeed("trace", "--sessions", 20).stdout
        self.succeed("replay", "-", "--index-only", "--capacity-blocks", 100, stdin=trace)

    def test_json_on_standard_output_is_alone_there(self):
        done = self.succeed("replay", self.tiny_trace(), "--index-only", "--capacity-blocks", 10,
                            "--json", "-")
        self.assert_shape(json.loads(done.stdout))
        self.assertIn("hit ratio", done.stderr)


class BadLines(CliTest):
    GOOD = '{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [1, 2]}\n'

    def refuse_line(self, bad, words=()):
        trace = self.write("trace.jsonl", self.GOOD + bad + "\n" + self.GOOD)
        options = ("replay", trace, "--index-only", "--policy", "lru", "--capacity-blocks", 10)
        self.refuse(*options, code=2, words=["line 2", *words])
        row = self.rows(*options, "--skip-bad-lines")[0]
        self.assertEqual(row["requests"], 2)

    def test_a_line_that_is_cut_off(self):
        self.refuse_line('{"timestamp": 5, "input_le', ["cut off"])

    def test_a_line_without_a_field(self):
        self.refuse_line('{"timestamp": 5, "input_length": 1, "output_length": 1}', ["hash_ids"])

    def test_a_line_with_words_for_ids(self):
        self.refuse_line('{"timestamp":5,"input_length":1,"output_length":1,"hash_ids":["a"]}')

    def test_a_line_of_something_else(self):
        self.refuse_line("\x00\x01\x02 not json")

    def test_a_huge_number(self):
        self.refuse_line('{"timestamp":1e400,"input_length":1,"output_length":1,"hash_ids":[1]}')

    def test_a_deeply_nested_line(self):
        self.refuse_line('{"x": ' + "[" * 100000)

    def test_the_option_that_skips_is_named(self):
        self.refuse("replay", self.write("t", "[]\n"), "--index-only", "--capacity-blocks", 10,
                    code=2, words=["--skip-bad-lines"])

    def test_no_request_at_all(self):
        for text in ("", "\n\n"):
            self.refuse("replay", self.write("t", text), "--index-only", "--capacity-blocks", 10,
                        code=2, words=["holds no request"])

    def test_a_file_that_is_not_there(self):
        self.refuse("replay", self.path("absent.jsonl"), "--index-only", "--capacity-blocks", 10,
                    code=2, words=["absent.jsonl"])

    def test_a_folder_instead_of_a_file(self):
        self.refuse("replay", self.dir, "--index-only", "--capacity-blocks", 10, code=2,
                    words=[self.dir])


if __name__ == "__main__":
    main()
