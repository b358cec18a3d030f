"""What is wrong with a template's file is said in one line, with its place."""

# ruff: noqa: E501  (a mistake and what is said of it stand side by side)

from __future__ import annotations

import pytest

from inversionview.errors import UserError
from inversionview.tasks.template.file import read_template
from inversionview.tasks.template.task import TemplateTask
from inversionview.tasks.vocabulary import Vocabulary
from tests.tasks.template.tiny import write
from tests.tokenizers import byte_tokenizer

GOOD = """
answer = "B"
phrasings = ["The {A} saw a {B}."]
[slots]
A = ["dog", "cat"]
B = ["tree", "ball"]
"""
WRONG = {
    "unused": (GOOD + 'C = ["key"]', "small.toml, slots.C: no phrasing uses it"),
    "unknown": (GOOD.replace("a {B}", "{C} {B}"), "phrasings: there is no slot 'C'; the slots are A, B; in 'The {A}"),
    "answer": (GOOD.replace('answer = "B"', ""), "small.toml, answer: it is missing"),
    "no such answer": (GOOD.replace('answer = "B"', 'answer = "Z"'), "answer: there is no slot 'Z'; the slots are A, B"),
    "no answer there": (GOOD.replace('."]', '.", "The {A} ran."]'), "the answer {B} is not in 'The {A} ran.'"),
    "key": ('colour = "red"\n' + GOOD, "small.toml, the file: there is no key 'colour'; the keys are name, about"),
    "slot key": (GOOD + 'C = { values = ["key"], of = 3, colour = 2 }', "slots.C: there is no key 'colour'; the keys are"),
    "toml": (GOOD + "C = }", r"the template .*small.toml cannot be read: .*line 7"),
    "circle": (GOOD + 'C = { pick = "E", of = ["D", "A"] }\nD = { pick = "E", of = ["C", "A"] }\nE = ["1", "2"]',
               "slots.C: slots in a circle: C needs D needs C"),
    "equal values": (GOOD.replace('"cat"', '"dog"'), "slots.A: 'dog' is there twice, so that two choices give one text"),
    "equal phrasings": (GOOD.replace('."]', '.", "The {A} saw a {B}."]'), "phrasings: two phrasings are equal"),
    "equal texts": (GOOD.replace('."]', '.", "The dog saw a {B}."]'), "two choices give one text, 'The dog saw a tree.': of"),
    "a hidden choice": (GOOD + 'C = { pick = "D", texts = ["dog", "dog"] }\nD = ["1", "2"]',
                        "slots.C: no phrasing uses it"),
    "ambiguous": ('answer = "B"\nphrasings = ["The {A} saw a {B}."]\n[slots]\nr = { row = "t" }\n'
                  'A = { column = "r.a" }\nB = ["tree", "ball"]\n[tables]\nt = [["a", "b"], ["dog", "x"], ["dog", "y"]]',
                  "slots.r: two choices give one text: 'dog' in .* can be made in two ways; write what tells them apart"),
    "several tokens": (GOOD.replace('["dog", "cat"]', '{ values = ["dog", "cat", "zebra"], tokens = 1 }'),
                       r"slots.A: 1 of 3 values cannot be used in this tokenizer: 'zebra' \(\d tokens\); give others, or"),
    "none left": (GOOD.replace('["dog", "cat"]', '{ values = ["zebra", "yak"], tokens = 1, leave_out = true }'),
                  "slots.A: 0 of the 2 A are one token in this tokenizer, and at least 1 is needed: give A that it has"),
    "too many": ('answer = "A"\nphrasings = ["So: ' + " ".join(f"{{{c}}}" for c in "ABCDEFGHIJKL") + '"]\n[slots]\n'
                 + "\n".join(f"{c} = {{ numbers = [10, 99] }}" for c in "ABCDEFGHIJKL"),
                 r"the file: it has 2\.8e\+23 inputs, more than can be counted: at most 9e18"),
    "few": (GOOD.replace('["tree", "ball"]', '{ values = ["dog"], not = "A" }').replace('["dog", "cat"]', '["dog"]'),
            "slots.A: no value is left that meets its conditions|slots.B: no value is left that meets its conditions"),
    "few of a list": ('answer = "B"\nphrasings = ["The {A} saw a {B}."]\n[slots]\nA = "w"\nB = { values = "w", not = "A" }\n'
                      '[lists]\nw = ["dog"]', "slots.A: it must differ from 1 others, and 1 values are left of A: give more"),
    "side by side": (GOOD.replace("saw a {B}", "saw a {A}{B}"), "something must stand between {A} and {B} in"),
    "brace": (GOOD.replace("saw", "saw {"), "phrasings: .* in 'The {A} saw { a {B}.'"),
    "condition": (GOOD.replace('["tree", "ball"]', '{ values = ["tree"], where = "B > 2" }'), "slots.B: the expression"),
    "not a condition": (GOOD.replace('["tree", "ball"]', '{ values = ["1", "2"], where = "B + 1" }'),
                        "slots.B: 'B [+] 1' is no condition: compare it with something"),
    "feature": (GOOD + '[features]\nx = "C == 1"', "features.x: the expression 'C == 1' cannot be used: there is no feature"),
    "feature of nothing": (GOOD + "[features]\nx = true", "features.x: there is no slot 'x' to be a feature"),
    "role": (GOOD + '[roles]\nx = "C"', "roles.x: there is no slot or word 'C'; there are A, END, answer"),
    "role of itself": (GOOD + '[roles]\nx = "y"\ny = "x+1"', "roles.x: it is said by itself"),
    "held out": (GOOD + '[held-out]\nx = { of = ["C"] }', "held-out.x: there is no slot 'C'; there are A, B, phrasing"),
    "held out texts": (GOOD + '[held-out]\nx = { one_in = 1 }', "held-out.x: one_in is a number of 2 or more, not 1"),
    "kept of none": (GOOD + '[held-out]\nx = { one_in = 2, keep = "C" }', "held-out.x: there is no slot 'C'; there are A, B"),
    "too many to hold out": (GOOD.replace('["dog", "cat"]', "{ numbers = [1, 100000] }").replace('"ball"', '"ball", "sun"')
                             + "[held-out]\nx = { one_in = 4 }",
                             "held-out.x: 300,000 texts are too many to hold out one by one, at most 200,000: hold out slots"),
    "kept change": (GOOD + '[changes]\nx = { keep = ["A"] }', "changes.x: keep is for phrasings with a condition, when"),
    "change of no kind": (GOOD + "[changes]\nx = { held = 1 }", "changes.x: it is slots, flip, or { keep = "),
    "change": (GOOD + '[changes]\nx = "C"', "changes.x: there is no slot 'C' to draw anew"),
    "flip": (GOOD + '[flip]\nswap = ["A", "B"]', "flip.swap: it names two slots of one list, which nothing else depends"),
    "file": (GOOD.replace('["dog", "cat"]', '"words.txt"'), "slots.A: 'words.txt': there is no such file"),
    "list": (GOOD.replace('["dog", "cat"]', '"words"'), "slots.A: there is no list 'words'; there are none"),
    "table": (GOOD.replace('["dog", "cat"]', '{ row = "t" }'), "slots.A: there is no table 't'; there are none"),
    "column": (GOOD.replace('["dog", "cat"]', '{ column = "r.z" }') + 'r = { row = "t" }\n[tables]\nt = [["a"], ["dog"]]',
               "slots.A: table t has no column 'z'; its columns are a"),
    "rows": (GOOD + '[tables]\nt = [["a", "b"], ["dog"]]', "tables.t: it: row 1 has not the 2 columns a, b"),
    "pick": (GOOD + 'C = { pick = "A", of = ["A"] }', "slots.C: A has 2 values, and there are 1 to pick from"),
    "words": (GOOD.replace("dog", " dog"), "slots.A: it: ' dog' is no text to fill a slot with: it needs letters, and no"),
    "number": (GOOD.replace('["dog", "cat"]', "{ numbers = [3] }"), r"slots.A: numbers are \[first, last\]"),
    "not one kind": (GOOD.replace('["dog", "cat"]', "{ about = 'x' }"), "slots.A: a slot has one of values, numbers, row"),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG)
def test_every_mistake_has_a_line_with_its_place(which, tmp_path):
    toml, said = WRONG[which]
    with pytest.raises(UserError, match=said) as caught:
        TemplateTask.from_file(write(tmp_path, toml), byte_tokenizer())
    assert "\n" not in str(caught.value)


def test_the_template_that_the_others_spoil_is_right(tmp_path):
    assert TemplateTask.from_file(write(tmp_path, GOOD), byte_tokenizer()).size == 4


def test_a_template_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no template .*none\.toml"):
        read_template(tmp_path / "none.toml")


def test_words_of_several_tokens_are_left_out_where_the_file_says_so(tmp_path):
    toml = GOOD.replace('["dog", "cat"]', '{ values = ["dog", "zebra", "cat"], tokens = 1, leave_out = true }')
    task = TemplateTask.from_file(write(tmp_path, toml), byte_tokenizer())
    assert task.features["A"].values == ("dog", "cat")
    assert task.left_out == {"slots.A": ("zebra",)}


def test_a_table_loses_the_rows_that_cannot_be_written(tmp_path):
    toml = """
    answer = "B"
    phrasings = ["The {A} saw a {B}."]
    [slots]
    r = { row = "t" }
    A = { column = "r.a", tokens = 1, leave_out = true }
    B = { column = "r.b" }
    [tables]
    t = "pairs.csv"
    """
    (tmp_path / "pairs.csv").write_text("a,b\ndog,tree\nzebra,ball\ncat,ball\n")
    task = TemplateTask.from_file(write(tmp_path, toml), byte_tokenizer())
    texts = [task.decode(row) for rows in task.enumerate() for row in rows]
    assert texts == ["The dog saw a tree.", "The cat saw a ball."]


def test_a_study_keeps_the_files_beside_a_template(tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "things.txt").write_text("# things\ntree\n\nball\nkey\n")
    (tmp_path / "facts.json").write_text('[{"a": "dog", "b": "x"}, {"a": "cat", "b": "y"}]')
    toml = """
    answer = "B"
    phrasings = ["The {A} saw a {B}."]
    [slots]
    r = { row = "t" }
    A = { column = "r.a" }
    B = "words/things.txt"
    [tables]
    t = "facts.json"
    """
    task = TemplateTask.from_file(write(tmp_path, toml), byte_tokenizer())
    (tmp_path / "kept").mkdir()
    task.save(tmp_path / "kept")
    for path in (tmp_path / "words" / "things.txt", tmp_path / "facts.json", tmp_path / "small.toml"):
        path.unlink()
    again = TemplateTask.load(tmp_path / "kept")
    assert again.size == task.size == 6
    assert again.features["B"].values == ("tree", "ball", "key")


def test_lists_can_be_replaced(tmp_path):
    toml = GOOD.replace('["dog", "cat"]', '"animals"') + '[lists]\nanimals = ["dog", "cat"]'
    vocabulary = Vocabulary(byte_tokenizer())
    path = write(tmp_path, toml)
    task = TemplateTask.from_file(path, vocabulary, lists={"animals": ["bird", "king", "boy"]})
    assert task.features["A"].values == ("bird", "king", "boy")
    (tmp_path / "kept").mkdir()
    task.save(tmp_path / "kept")
    assert TemplateTask.load(tmp_path / "kept").features["A"].values == ("bird", "king", "boy")
    with pytest.raises(UserError, match="lists: there is no list 'things' to replace; there are animals"):
        read_template(path, lists={"things": ["tree"]})
