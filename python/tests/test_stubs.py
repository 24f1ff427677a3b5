"""The extension's stub names what it has: every name, and every parameter by its name and order; and nothing else."""
import ast
import inspect
import os
import re
import unittest

import kvpool
import kvpool._native

SPECIAL = {"__init__", "__enter__", "__exit__", "__aenter__", "__aexit__", "__buffer__"}


def is_public(name):
    return not name.startswith("_") or name in SPECIAL


def parameters_of_stub(function):
    arguments = function.args
    names = [one.arg for one in arguments.posonlyargs + arguments.args]
    names += ["*"] * bool(arguments.kwonlyargs) + [one.arg for one in arguments.kwonlyargs]
    return names + (["**" + arguments.kwarg.arg] if arguments.kwarg else [])


def parameters_of(function):
    """Of a function of Python's, or one of the extension's by the first line of its docstring."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        names = re.match(r"\w+\((.*)\) ->", function.__doc__).group(1)
        names = re.findall(r"(?:^|, )(\*|\w+)(?=:|,|$)", names)
        return [re.sub("^arg0$", "self", name) for name in names]
    names, keyword_only = [], False
    for name, one in signature.parameters.items():
        if one.kind == one.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            names.append("*")
        names.append("**" * (one.kind == one.VAR_KEYWORD) + name)
    return names


def stub_names(body):
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign) or isinstance(node, ast.Assign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            yield target.id, node


def compare_class(name, node, one):
    stubbed = {key: value for key, value in stub_names(node.body) if is_public(key)}
    present = {key for key in dir(one) if is_public(key)}
    if not hasattr(one, "__buffer__") and "__buffer__" in stubbed:
        present.add("__buffer__")  # of the buffer protocol, which Python 3.11 does not show
    for key in sorted(stubbed.keys() ^ (present - (SPECIAL - stubbed.keys()))):
        yield f"{name}.{key} is only in the {'stub' if key in stubbed else 'package'}"
    for key, value in stubbed.items():
        function = getattr(one, key, None)
        if key in SPECIAL or not isinstance(value, (ast.FunctionDef, ast.AsyncFunctionDef)) or not callable(function):
            continue
        if parameters_of_stub(value) != parameters_of(function):
            yield f"{name}.{key}: {parameters_of_stub(value)} in the stub, {parameters_of(function)} in the package"


def compare(text, module, public):
    """What stub and module do not have in common."""
    stubbed = {name: node for name, node in stub_names(ast.parse(text).body)}
    for name in sorted(stubbed.keys() ^ set(public)):
        yield f"{name} is only in the {'stub' if name in stubbed else 'package'}"
    for name, node in stubbed.items():
        one = getattr(module, name, None)
        if isinstance(node, ast.ClassDef) and isinstance(one, type):
            yield from compare_class(name, node, one)
        elif isinstance(node, ast.FunctionDef) and one and parameters_of_stub(node) != parameters_of(one):
            yield f"{name}: {parameters_of_stub(node)} in the stub, {parameters_of(one)} in the package"


def stub():
    with open(os.path.join(os.path.dirname(kvpool.__file__), "_native.pyi"), encoding="utf-8") as text:
        return text.read()


def compare_native(text):
    return list(compare(text, kvpool._native, [name for name in vars(kvpool._native) if is_public(name)]))


class Stubs(unittest.TestCase):
    def test_the_extension_and_its_stub_agree(self):
        self.assertEqual(compare_native(stub()), [])

    def test_what_differs_is_found(self):
        text = stub()
        for good, bad, found in (
                ("class Registration:", "class Registrations:", "Registrations is only in the stub"),
                ("def match(", "def matches(", "Space.match is only in the package"),
                ("def layers_ready(self, request: int)", "def layers_ready(self, id: int)", "Channel.layers_ready"),
                ("def allocate(self, nbytes: int, *, ", "def allocate(self, nbytes: int, ", "Pool.allocate"),
                ("class Completion:", "class Completed:", "Completion is only in the package")):
            self.assertEqual(text.count(good), 1)
            self.assertIn(found, "\n".join(compare_native(text.replace(good, bad))))

    def test_the_package_says_that_it_is_typed(self):
        self.assertTrue(os.path.exists(os.path.join(os.path.dirname(kvpool.__file__), "py.typed")))

    def test_everything_has_a_docstring(self):
        for name in kvpool.__all__:
            one = getattr(kvpool, name)
            if isinstance(one, type):
                self.assertTrue(one.__doc__, name)
                for key, value in vars(one).items():
                    if is_public(key) and callable(value) and key not in SPECIAL:
                        self.assertGreater(len((value.__doc__ or "").strip().split("\n")[-1]), 10, f"{name}.{key}")


if __name__ == "__main__":
    unittest.main()
