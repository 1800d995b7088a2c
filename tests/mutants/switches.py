#!/usr/bin/env python3
"""Puts every mutant of some sources into one build, each behind a switch of its own.

    switches.py TREE MUTANTS.json WITHOUT.json > SWITCHES.json

cargo-mutants builds the program anew for each mutant. There are thousands, and a build takes longer than the tests. So
this takes what `cargo mutants --list --json` found (MUTANTS.json) and writes each change into the sources of TREE, a copy
of the project, such that it is in force when the environment's KEW_MUTANT holds its number, and none else. WITHOUT.json
holds the names of those that do not compile; they are left out. What was put in is printed: for each mutant its number,
name, file, and whether it is in.
"""

import json
import sys
from pathlib import Path

import tree_sitter_rust
from tree_sitter import Language, Parser

SWITCH = """
#[doc(hidden)]
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub fn mutant(number: u32) -> bool {
    static ACTIVE: std::sync::LazyLock<u32> =
        std::sync::LazyLock::new(|| std::env::var("KEW_MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(0));
    *ACTIVE == number
}
"""


class Source:
    """A file and its syntax tree."""

    def __init__(self, path):
        self.path = path
        self.bytes = path.read_bytes()
        self.lines = self.bytes.split(b"\n")
        self.tree = Parser(Language(tree_sitter_rust.language())).parse(self.bytes)
        self.inserts = []  # (offset, order, text): what goes in front of the byte at `offset`
        self.removals = set()  # (start, end) of what is left out

    def offset(self, place):
        """The byte of a line and a column in characters, both from 1."""
        line, column = place["line"] - 1, place["column"] - 1
        before = sum(len(text) + 1 for text in self.lines[:line])
        return before + len(self.lines[line].decode()[:column].encode())

    def text(self, node):
        return self.bytes[node.start_byte : node.end_byte].decode()

    def node(self, start, end, *kinds):
        """The innermost node of one of `kinds` that covers the span."""
        node = self.tree.root_node.descendant_for_byte_range(start, end)
        while node is not None and node.type not in kinds:
            node = node.parent
        return node

    def wrap(self, node, before, after):
        # Of two that start at one byte the longer goes outside, so its text stands first; at the end it stands last.
        size = node.end_byte - node.start_byte
        self.inserts.append((node.start_byte, 1, -size, before))
        self.inserts.append((node.end_byte, 0, size, after))

    def written(self):
        edits = [(at, order, size, at, text) for at, order, size, text in self.inserts]
        edits += [(start, 2, 0, end, "") for start, end in self.removals]
        out, last = [], 0
        for start, _, _, end, text in sorted(edits):
            out += [self.bytes[last:start].decode(), text]
            last = end
        return "".join(out) + self.bytes[last:].decode()


def switch(source, number, mutant):
    """Writes the mutant into its source; says whether it could."""
    on = f"crate::mutant({number})"
    start, end = source.offset(mutant["span"]["start"]), source.offset(mutant["span"]["end"])
    new = mutant["replacement"]
    genre = mutant["genre"]
    item = source.node(start, end - 1, "function_item", "const_item", "static_item")
    if item is None or item.type != "function_item":
        return False  # a constant is reckoned by the compiler
    for words in (child for child in item.children if child.type == "function_modifiers"):
        for word in (word for word in words.children if word.type == "const"):
            source.removals.add((word.start_byte, word.end_byte + 1))
    if genre == "FnValue":
        if "impl " in mutant["function"]["return_type"]:
            return False  # what is returned early would have to be of the same type
        body = item.child_by_field_name("body")
        at = body.start_byte + 1
        source.inserts.append((at, 1, 0, f" if {on} {{ return {new}; }} "))
        return True
    if genre == "BinaryOperator":
        node = source.node(start, end - 1, "binary_expression", "compound_assignment_expr", "let_chain")
        if node is None or node.type == "let_chain":
            return False  # `a && let b = c` is no expression
        operator = node.child_by_field_name("operator")
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        old = source.bytes[start:end].decode()
        if node.type == "compound_assignment_expr":
            source.wrap(node, f"if {on} {{ {source.text(left)} {new} {source.text(right)} }} else {{ ", " }")
            return True
        if operator.start_byte != start:
            return False
        source.wrap(node, f"(if {on} {{ {source.text(left)} {new} {source.text(right)} }} else {{ ", " })")
        return old != new
    if genre == "UnaryOperator":
        node = source.node(start, end - 1, "unary_expression")
        source.wrap(node, f"(if {on} {{ {source.bytes[end:node.end_byte].decode()} }} else {{ ", " })")
        return True
    if genre == "MatchArm":
        arm = source.node(start, end - 1, "match_arm")
        if not any(source.text(other).startswith("_ =>") for other in arm.parent.children):
            return False  # an arm with a guard is none that the compiler counts on
        pattern = arm.child_by_field_name("pattern")
        guard = pattern.child_by_field_name("condition")
        if guard is None:
            source.inserts.append((pattern.end_byte, 1, 0, f" if !{on} "))
        elif guard.type in ("let_condition", "let_chain"):
            return False
        else:
            source.wrap(guard, f"!{on} && (", ")")
        return True
    if genre == "MatchArmGuard":
        pattern = source.node(start, end - 1, "match_pattern")
        guard = pattern.child_by_field_name("condition")
        if guard is None or guard.type in ("let_condition", "let_chain"):
            return False
        source.wrap(guard, f"({on} || (" if new == "true" else f"(!{on} && (", "))")
        return True
    return False


def main():
    tree, listed, without = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), set()
    if Path(sys.argv[3]).exists():
        without = set(json.loads(Path(sys.argv[3]).read_text()))
    sources, switched = {}, []
    for number, mutant in enumerate(listed, start=1):
        source = sources.setdefault(mutant["file"], None) or Source(tree / mutant["file"])
        sources[mutant["file"]] = source
        state = "in"
        if mutant["name"] in without:
            state = "does not compile"
        elif not switch(source, number, mutant):
            state = "no switch"
        switched.append({"number": number, "name": mutant["name"], "file": mutant["file"], "state": state})
    for source in sources.values():
        source.path.write_text(source.written())
    for library in {name.split("/src/")[0] + "/src/lib.rs" for name in sources}:
        path = tree / library
        path.write_text(path.read_text() + SWITCH)
    json.dump(switched, sys.stdout, indent=1)


main()
