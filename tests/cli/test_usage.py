"""Help that teaches, and mistakes on the command line."""

from harness import CliTest, main

COMMANDS = ("probe", "create", "info", "check", "bench", "bench-drives", "top", "replay", "trace", "demo")


class Help(CliTest):
    def test_the_program_lists_its_commands(self):
        text = self.succeed("--help").stdout
        for command in COMMANDS:
            self.assertIn(command, text)

    def test_every_command_has_help_with_examples(self):
        for command in COMMANDS:
            with self.subTest(command):
                text = self.succeed(command, "--help").stdout
                self.assertIn("Examples:", text)
                self.assertIn(f"kvpool {command}", text)

    def test_the_version_names_the_commit(self):
        self.assertRegex(self.succeed("--version").stdout, r"^kvpool \d+\.\d+\.\d+ \(.+\)\n$")


class Mistakes(CliTest):
    def test_no_command(self):
        self.refuse(code=2, words=["kvpool --help"])

    def test_an_unknown_command_gets_a_suggestion(self):
        self.refuse("prob", code=2, words=['"prob"', '"probe"'])

    def test_an_unknown_option_gets_a_suggestion(self):
        self.refuse("info", "--pol", "x.toml", code=2, words=["--pol", "--pool"])

    def test_a_missing_option_is_named(self):
        for command in ("create", "info", "check"):
            self.refuse(command, code=2, words=["--pool", f"kvpool {command} --help"])

    def test_sizes_say_their_form(self):
        self.refuse("replay", "x", "--bytes-per-block", "64KibiBytes", code=2,
                    words=["--bytes-per-block", "64KibiBytes", "KiB"])

    def test_devices_say_their_form(self):
        self.refuse("bench", "--devices", "memory:3000,flie:800", "--dir", self.dir, code=2,
                    words=["flie:800", "file"])

    def test_an_unknown_method_lists_the_known(self):
        self.refuse("bench", "--devices", "memory", "--dir", self.dir, "--methods", "pol", code=2,
                    words=["pol", "serial-direct"])

    def test_an_impossible_prefix(self):
        self.refuse("bench", "--devices", "memory", "--dir", self.dir, "--prefix", "0", code=2,
                    words=["--prefix"])

    def test_replay_needs_to_know_where(self):
        self.refuse("replay", "x.jsonl", code=2, words=["--index-only", "--pool"])
        self.refuse("replay", "x.jsonl", "--index-only", code=2, words=["--capacity-blocks"])

    def test_an_unknown_policy_lists_the_known(self):
        trace = self.tiny_trace()
        self.refuse("replay", trace, "--index-only", "--policy", "lur", "--capacity-blocks", 10,
                    code=2, words=["lur", "lru"])

    def test_numbers_that_are_none(self):
        trace = self.tiny_trace()
        index = ("replay", trace, "--index-only", "--capacity-blocks")
        for bad in ("-1", "99999999999999999999", "1.5", "0x10", "ten"):
            with self.subTest(bad):
                self.refuse(*index, bad, code=2, words=["--capacity-blocks", bad])
                self.refuse(*index, f"10,{bad}", code=2, words=["--capacity-blocks", bad])
                self.refuse(*index, 10, "--limit", bad, code=2, words=["--limit", bad])
                for option in ("--sessions", "--seed", "--block-tokens", "--documents"):
                    self.refuse("trace", option, bad, code=2, words=[option, bad])
                for option in ("--repeat", "--seed", "--block-tokens"):
                    self.refuse("bench", "--devices", "memory", "--dir", self.dir, option, bad,
                                code=2, words=[option, bad])
        self.refuse("trace", "--block-tokens", 2**32, code=2, words=["--block-tokens"])
        self.succeed("trace", "--sessions", 2, "--seed", 2**64 - 1)

    def test_impossible_generator_options(self):
        self.refuse("trace", "--turns", "0", code=2, words=["turns"])


if __name__ == "__main__":
    main()
