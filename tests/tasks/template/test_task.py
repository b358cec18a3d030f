"""Templates of every kind, compared with all their texts made in another way, in the tokens of several tokenizers."""

from __future__ import annotations

import collections
import math

import pytest
import torch

from inversionview.errors import UserError
from inversionview.tasks import Configured, Constrained, get_task
from inversionview.tasks.base import Contrastable, Editable, Flippable, Restrictable
from inversionview.tasks.template.file import read_template
from inversionview.tasks.template.task import TemplateTask
from inversionview.tasks.vocabulary import Vocabulary, word_tokenizer
from tests.tasks.template.tiny import ALL, ORDER, VERBS, YEARS, opened, write
from tests.tokenizers import byte_tokenizer, story_tokenizer

KINDS = [(name, which) for name in ALL for which in ("words", "bytes", "story") if (name, which) not in {
    ("years", "words"),  # a word tokenizer does not cut a year in two
    ("order", "story"), ("again", "story"),  # which ask for words of one token
}]  # fmt: skip


@pytest.fixture(params=KINDS, ids="-".join)
def case(request, tmp_path):
    name, which = request.param
    texts = ALL[name].texts()
    tokenizer = {"words": lambda: word_tokenizer(texts), "bytes": byte_tokenizer, "story": story_tokenizer}[which]()
    return opened(tmp_path, ALL[name], Vocabulary(tokenizer)), texts


@pytest.fixture
def order(tmp_path):
    return opened(tmp_path, ORDER, Vocabulary(byte_tokenizer()))


def everything(task):
    return torch.cat(list(task.enumerate(block=7)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def codes(task, name, tokens):
    return task.features[name].compute(tokens, torch.ones(len(tokens), dtype=torch.long))


def value(task, name, row):
    return task.features[name].values[int(codes(task, name, row[None])[0])]


def test_what_is_enumerated_is_known_as_rows_that_are_read_are(case, monkeypatch):
    task, _ = case
    blocks, read = list(task.enumerate(block=7)), task.reader.read
    known = []
    with monkeypatch.context() as patched:
        patched.setattr(task.reader, "read", None)  # nothing is read
        for rows in task.enumerate(block=7):
            inside = task.contains(rows)
            known.append((inside, task.places(rows), {name: codes(task, name, rows) for name in task.features}))
    assert task.reader.read == read
    for rows, (inside, places, features) in zip(blocks, known, strict=True):
        again = rows.clone()
        assert inside.all()
        assert task.contains(again).all()
        for name, position in task.places(again).items():
            assert torch.equal(position, places[name])
        for name in task.features:
            assert torch.equal(codes(task, name, again), features[name]), name


def test_the_domain_is_every_text_that_can_be_made(case):
    task, texts = case
    rows = everything(task)
    assert sorted(task.decode(row).strip() for row in rows) == sorted(texts)
    assert task.size == len(set(texts)) == len(texts)
    assert task.contains(rows).all()
    assert torch.exp(task.log_prior(rows)).sum() == pytest.approx(1)


def test_texts_are_tokenised_as_they_are_and_back(case):
    task, texts = case
    rows = everything(task)
    assert task.vocabulary.is_canonical(rows).all()
    for text in texts[::5]:
        row = task.encode(text)
        assert row.tolist() == [task.begin, *task.vocabulary.ids(text), task.end]
        assert torch.equal(task.encode(text.removesuffix(".")), row)


def test_a_changed_token_leads_out_of_the_domain_or_to_another_input(case):
    task, _ = case
    rows = everything(task)
    known = {tuple(row.tolist()) for row in rows}
    used = torch.unique(rows).tolist()
    some = rows[:: max(1, len(rows) // 6)]
    changed = torch.stack(
        [some.index_fill(1, torch.tensor([position]), token) for position in range(rows.shape[1]) for token in used]
    ).flatten(0, 1)
    assert task.contains(changed).tolist() == [tuple(row) in known for row in changed.tolist()]


def test_width_does_not_matter(case):
    task, _ = case
    rows = everything(task)
    wide = torch.cat([rows, torch.full((len(rows), 3), task.pad)], dim=1)
    assert task.contains(wide).all()
    wide[:, -1] = (task.pad + 1) % task.vocab_size
    assert not task.contains(wide).any()
    assert not task.contains(rows[:, :3]).any()
    assert task.contains(rows[:0]).shape == (0,)


def test_next_tokens_are_those_that_some_input_has_there(case):
    task, _ = case
    assert isinstance(task, Constrained)
    rows = everything(task)
    some = rows[:: max(1, len(rows) // 11)]
    possible = task.next_tokens(some)
    for i, row in enumerate(some):
        for t in range(len(task.vocabulary.inner(row)) + 1):
            same = rows[(rows[:, : t + 1] == row[: t + 1]).all(dim=1)]
            assert set(task.used_tokens[possible[i, t]].tolist()) == set(same[:, t + 1].tolist())
    changed = torch.cat([some, some.roll(1, dims=0).where(torch.rand(some.shape, generator=generator()) < 0.2, some)])
    for t in range(changed.shape[1]):
        last = task.next_tokens(changed[:, : t + 1], t)
        assert last.shape == (len(changed), 1, len(task.used_tokens))
        assert torch.equal(last[:, 0], task.next_tokens(changed)[:, t])
        assert torch.equal(task.next_tokens(changed, t), task.next_tokens(changed)[:, t:])
    assert set(task.used_tokens.tolist()) == {*rows.unique().tolist(), task.pad}
    ended = task.vocabulary.row(task.vocabulary.inner(rows[0]), rows.shape[1] + 1)[None]
    assert task.next_tokens(ended)[0, -1].all()
    assert task.next_tokens(torch.full((1, 3), 7))[0].all()


def test_what_is_kept_of_rows_is_that_of_rows_read_anew(case):
    task, _ = case
    rows = everything(task)
    for block in task.enumerate(block=5):  # what these are made of is known without reading
        known = [task.features[name].compute(block, torch.ones(len(block), dtype=torch.long)) for name in task.features]
        read = [codes(task, name, block.flip(0)).flip(0) for name in task.features]
        assert all(map(torch.equal, known, read))
    block = next(task.enumerate(block=5))
    block[0] = task.pad
    assert task.contains(block).tolist() == [False, *[True] * (len(block) - 1)]
    task.contains(rows)[:] = False
    assert task.contains(rows.clone()).all()
    before = task.places(rows)
    task.edit(rows, generator())
    assert all(torch.equal(task.places(rows)[role], place) for role, place in before.items())


def test_all_inputs_are_drawn_as_often(case):
    task, texts = case
    n = 200 * len(texts)
    rows = task.sample(n, generator=generator())
    counts = collections.Counter(map(tuple, rows.tolist()))
    assert len(counts) == len(texts)
    chi_squared = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert chi_squared < len(texts) + 5 * math.sqrt(2 * len(texts))
    assert torch.equal(rows[:9], task.sample(n, generator=generator())[:9])
    assert task.sample(0, generator=generator()).shape == (0, task.max_length)


def test_each_input_is_on_one_side(case):
    task, _ = case
    out = task.is_held_out(everything(task))
    assert out.any()
    assert not out.all()
    for split, side in (("train", False), ("held-out", True)):
        assert (task.is_held_out(task.sample(40, generator=generator(), split=split)) == side).all()


def test_roles_and_positions_agree(case):
    task, _ = case
    rows = everything(task)[::5]
    for row in rows[:4]:
        for position in task.eligible(row[None])[0].nonzero()[:, 0].tolist():
            assert int(task.position_of(row[None], task.role(row, position))[0]) == position
    alone = torch.tensor([int(task.position_of(row[None], "END")[0]) for row in rows])
    assert torch.equal(task.position_of(rows, "END"), alone)
    assert torch.equal(task.position_of(rows, "answer"), alone + 1)
    assert (task.position_of(torch.full((2, 9), 7), "END") == -1).all()
    with pytest.raises(UserError, match="has no position 'A7'; its positions are "):
        task.position_of(rows, "A7")


def test_the_answer_is_what_the_slot_says(case):
    task, _ = case
    rows = everything(task)
    for row, mask in list(zip(rows, task.answer_mask(rows), strict=True))[::7]:
        assert task.vocabulary.text(row[mask].tolist()).strip() == value(task, task.declared.answer, row)


def test_an_edit_is_as_probable_as_its_reverse_and_leads_everywhere(case):
    task, texts = case
    assert isinstance(task, Editable)
    rows = everything(task)
    number = {tuple(row): i for i, row in enumerate(rows.tolist())}
    times = 20_000 // len(rows)
    moves = torch.zeros(len(rows), len(rows))
    edited = task.edit(rows.repeat_interleave(times, 0), generator())
    for i, row in enumerate(edited.tolist()):
        moves[i // times, number[tuple(row)]] += 1
    far = (moves - moves.T).abs() > 6 * (moves + moves.T).sqrt() + 1e-9
    assert not far.any()
    reached = torch.eye(len(rows))
    for _ in range(8):
        reached = ((reached @ (moves + moves.T)) > 0).float()
    assert len(texts) < 20 or reached.bool().float().mean() > 0.4


def test_a_saved_task_is_the_same(case, tmp_path):
    task, _ = case
    assert isinstance(task, Configured)
    (tmp_path / "task").mkdir()
    task.save(tmp_path / "task")
    again = get_task(task.kind, tmp_path / "task")
    rows = everything(task)
    assert torch.equal(rows, everything(again))
    assert torch.equal(task.is_held_out(rows), again.is_held_out(rows))
    assert list(task.features) == list(again.features)
    (tmp_path / "task" / "task.json").write_text('{"schema": 1}')
    with pytest.raises(UserError, match="damaged: files is missing"):
        get_task(task.kind, tmp_path / "task")


def test_what_is_given_leaves_the_inputs_that_share_it(case):
    task, _ = case
    assert isinstance(task, Restrictable)
    rows = everything(task)
    phrased = len(task.declared.phrasings) > 1
    names = [*(name for name in task.declared.slots if name in task.features), *(["phrasing"] if phrased else [])]
    of = {name: codes(task, name, rows) for name in names if name in task.features}
    for row in rows[:: max(1, len(rows) // 4)]:
        at = int((rows == row).all(dim=1).nonzero()[0, 0])
        for spec in [*of, ",".join(list(of)[:2])]:
            kept = spec.split(",")
            same = torch.stack([of[name] == of[name][at] for name in kept]).all(dim=0)
            part = task.given(row, spec)
            assert part.size == int(same.sum())
            listed = torch.cat(list(part.enumerate())).tolist()
            assert listed == sorted(rows[same].tolist())
            assert part.contains(rows).tolist() == same.tolist()
            assert torch.exp(part.log_prior(rows[same])).sum() == pytest.approx(1)
            assert task.restrictions[spec].startswith("with the same ")
    with pytest.raises(UserError, match="has no 'colour' to be given: name what inputs share, of "):
        task.given(rows[0], "colour")


def test_all_but_some_slots_keeps_every_other_choice(order):
    row = order.encode("When Alice met Brian, Brian gave the ball to Alice.")
    part = order.given(row, "all-but:IO,S")
    assert len(torch.cat(list(part.enumerate()))) == 6
    texts = {order.decode(one) for one in torch.cat(list(part.enumerate()))}
    names = ("Alice", "Brian", "Carol")
    assert texts == {f"When {a} met {b}, {b} gave the ball to {a}." for a in names for b in names if a != b}
    assert order.restrictions["all-but:IO,S"] == "that differ in IO and S at most"
    assert order.given(row, "all-but:opening,thing").size == 4
    with pytest.raises(UserError, match="does not share what is given"):
        part.encode("When Alice met Brian, Brian gave the key to Alice.")


def test_the_order_of_two_slots_can_be_told_and_changed(order):
    row = order.encode("After Carol saw Alice, the key went from Carol to Alice.")
    assert {name: value(order, name, row) for name in ("IO", "S", "A", "thing", "both", "opening", "held out")} == {
        "IO": "Alice", "S": "Carol", "A": "Carol", "thing": "key", "both": "Alice, Carol",
        "opening": "After {A} saw {B},", "held out": value(order, "held out", row),
    }  # fmt: skip
    shown = order.token_strings(row)
    at = {role: shown[int(order.position_of(row[None], role)[0])] for role in order.roles}
    assert at == {"first": " Carol", "giver": " Carol", "giver+1": " to", "IO": " Alice", "END": " to",
                  "answer": " Alice"}  # fmt: skip
    assert value(order, "where", row) == str(int(order.position_of(row[None], "IO")[0]))


@pytest.mark.parametrize(
    ("change", "kept"),
    [(("IO",), {"S", "thing", "opening", "ending"}), (("thing",), {"IO", "S", "A", "opening", "ending"}),
     (("opening",), {"IO", "S", "A", "thing", "ending"}), (("phrasing", "S"), {"IO", "thing"}),
     (("A",), {"both"} - {"both"} | {"thing"})],
)  # fmt: skip
def test_changes_keep_all_else(order, change, kept):
    assert isinstance(order, Contrastable)
    rows = order.sample(300, generator=generator())
    changed = order.change(rows, change, generator(1))
    assert order.contains(changed).all()
    assert (changed != rows).any()
    for name in kept:
        assert torch.equal(codes(order, name, rows), codes(order, name, changed)), name
    outside = torch.full((2, rows.shape[1]), 7)
    assert torch.equal(order.change(outside, change, generator()), outside)
    with pytest.raises(
        UserError, match="small can change IO, S, A, B, thing, phrasing, opening, ending, giver, not END"
    ):
        order.change(rows, ("END",), generator())


def test_a_flip_swaps_what_it_names(order, tmp_path):
    assert isinstance(order, Flippable)
    rows = everything(order)
    flipped = order.flip(rows, generator())
    assert order.contains(flipped).all()
    assert torch.equal(codes(order, "IO", flipped), codes(order, "S", rows))
    changed = (flipped != rows).nonzero()[:, 1].view(len(rows), 2)
    assert torch.equal(changed[:, 0], order.position_of(rows, "giver"))
    assert torch.equal(changed[:, 1], order.position_of(rows, "answer"))
    assert torch.equal(order.flip(flipped, generator()), rows)
    half = (order.change(rows, ("giver",), generator()) != rows).any(dim=1).float().mean()
    assert 0.2 < half < 0.8
    verbs = opened(tmp_path, VERBS, Vocabulary(byte_tokenizer()))
    narrow = verbs.encode("The dog near the cats is old.")[None]
    one = torch.nn.functional.pad(narrow, (0, verbs.max_length - narrow.shape[1]), value=verbs.pad)
    assert verbs.decode(verbs.flip(one, generator())[0]) == "The dogs near the cats are old."
    assert torch.equal(verbs.flip(narrow, generator()), narrow)  # which has no room for it
    assert not isinstance(opened(tmp_path, YEARS, Vocabulary(byte_tokenizer())), Flippable)


def test_pairs_are_held_out_in_whichever_order(order):
    rows = everything(order)
    kinds = [order.features["held out"].values[int(code)] for code in codes(order, "held out", rows)]
    assert set(kinds) == {"no", "pair", "words", "both"}
    pairs = {kind: {value(order, "both", row) for row, its in zip(rows, kinds, strict=True) if its == kind}
             for kind in set(kinds)}  # fmt: skip
    assert not (pairs["pair"] | pairs["both"]) & (pairs["no"] | pairs["words"])
    assert order.is_held_out(rows).tolist() == [kind != "no" for kind in kinds]


def test_one_text_of_millions_that_two_choices_give_is_found(tmp_path):
    slots = " ".join(f"{{{name}}}" for name in "ABCDEFG")
    words = ", ".join(f'"{word}"' for word in ("dog", "cat", "tree", "ball", "key", "king", "stone", "house"))
    given = "\n".join(f'{name} = "words"' for name in "ABCDEFG")
    toml = f"""
    answer = "G"
    phrasings = ["We saw a {slots}.", "We saw a dog cat tree ball key king {{G}}."]
    [slots]
    {given}
    [lists]
    words = [{words}]
    """
    vocabulary = Vocabulary(byte_tokenizer())
    with pytest.raises(
        UserError, match=r"two choices give one text, 'We saw a dog cat tree ball key king \w+\.': of '[^']*' and"
    ):
        TemplateTask.of(read_template(write(tmp_path, toml)), vocabulary)
    assert TemplateTask.of(read_template(write(tmp_path, toml.replace("We saw a dog", "We saw the dog"))), vocabulary)


def test_numbers_are_compared_as_numbers(tmp_path):
    task = opened(tmp_path, YEARS, Vocabulary(byte_tokenizer()))
    row = task.encode("The king was there from the year 1708 to the year 1712.")
    assert (value(task, "YY", row), value(task, "later", row)) == ("08", "12")
    assert (value(task, "more", row), value(task, "even", row)) == ("4", "yes")
    shown = task.token_strings(row)
    first, last = (int(task.position_of(row[None], role)[0]) for role in ("YY.first", "YY"))
    assert "".join(shown[first : last + 1]) == "08"
    assert "".join(shown[int(task.position_of(row[None], "answer")[0]) : -2]) == "12"


def test_changes_within_a_table_keep_the_phrasing(tmp_path):
    task = opened(tmp_path, ALL["facts"], Vocabulary(byte_tokenizer()))
    rows = everything(task).repeat(20, 1)
    changed = task.change(rows, ("subject",), generator())
    assert task.contains(changed).all()
    for name in ("phrasing", "relation", "kind"):
        assert torch.equal(codes(task, name, rows), codes(task, name, changed))
    assert (codes(task, "subject", rows) != codes(task, "subject", changed)).any()
    assert (task.position_of(rows, "relation") == -1).any()


@pytest.mark.parametrize(
    ("text", "said"),
    [("When Alice met Alice", "after 'When Alice met' comes ' Carol', ' Brian', not ' Alice'"),
     ("When Alice met Brian, Carol", "met Brian,' comes"), ("Nothing", "it begins with"),
     ("", "it is empty; one is 'W")],
)  # fmt: skip
def test_what_is_no_input_is_explained(order, text, said):
    with pytest.raises(UserError, match="is not an input of small") as caught:
        order.encode(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
