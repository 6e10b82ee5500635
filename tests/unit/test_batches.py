import esm
import numpy as np
import pytest
import torch

from hardfold.batches import pad, plan_epoch, plan_windows, share, share_chains, tokenize, window_starts

LENGTHS = [int(n) for n in np.random.default_rng(0).integers(40, 300, 100)]


def plan(seed=1, batch_size=4, max_length=128, **options):
    return plan_epoch(LENGTHS, batch_size, max_length, np.random.default_rng(seed), **options)


def padded_sizes(batches, max_length):
    return [len(batch) * max(min(LENGTHS[i], max_length) for i, _ in batch) for batch in batches]


def test_an_epoch_holds_every_chain_once_in_batches_of_the_size():
    batches = plan()
    assert sorted(index for batch in batches for index, _ in batch) == list(range(100))
    assert max(map(len, batches)) == 4


def test_crops_lie_inside_their_chain_and_short_chains_are_whole():
    starts = dict(crop for batch in plan() for crop in batch)
    assert all(0 <= starts[i] <= max(0, length - 128) for i, length in enumerate(LENGTHS))
    assert any(starts.values())


def test_truncated_chains_begin_at_their_first_residue():
    assert all(start == 0 for batch in plan(truncate=True) for _, start in batch)


def test_order_and_crops_come_from_the_generator_alone():
    assert plan(seed=3) == plan(seed=3)
    assert plan(seed=3) != plan(seed=4)


def test_batches_keep_to_the_budget_of_padded_residues():
    batches = plan(batch_size=16, max_tokens=400)
    assert max(padded_sizes(batches, 128)) <= 400 < max(padded_sizes(plan(batch_size=16), 128))
    assert sorted(index for batch in batches for index, _ in batch) == list(range(100))


def test_a_chain_beyond_the_budget_stands_alone():
    assert all(len(batch) == 1 for batch in plan(max_length=300, max_tokens=30))


def test_like_lengths_share_a_batch():
    def padding(batches):
        lengths = [[min(LENGTHS[i], 300) for i, _ in batch] for batch in batches]
        return sum(max(batch) * len(batch) - sum(batch) for batch in lengths)

    order = np.random.default_rng(0).permutation(100)
    shuffled = [[(int(i), 0) for i in order[k : k + 4]] for k in range(0, 100, 4)]
    assert padding(plan(max_length=300)) < 0.3 * padding(shuffled)


def test_windows_begin_every_step_and_one_ends_with_the_chain():
    assert window_starts(100, 40, 25) == [0, 25, 50, 60]
    assert window_starts(90, 40, 25) == [0, 25, 50]
    assert window_starts(40, 40, 25) == window_starts(7, 40, 25) == [0]
    assert window_starts(100, 40, None) == [0]


@pytest.mark.parametrize("length", range(1, 60))
def test_windows_cover_every_residue(length):
    seen = {start + k for start in window_starts(length, 16, 16) for k in range(min(length, 16))}
    assert seen == set(range(length))


def test_windows_of_a_chain_follow_each_other_shortest_chains_first():
    batches = plan_windows([50, 300, 40, 60], batch_size=3, max_length=100, step=80, max_tokens=210)
    assert batches == [[(2, 0), (0, 0), (3, 0)], [(1, 0), (1, 80)], [(1, 160), (1, 200)]]
    assert plan_windows([50, 300], 8, 100, step=None) == [[(0, 0), (1, 0)]]


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_processes_share_each_batch_and_have_as_many(ranks):
    batches = plan(batch_size=4, max_tokens=400)
    shares = [share(batches, rank, ranks) for rank in range(ranks)]
    for batch, *parts in zip(batches, *shares, strict=True):
        assert sorted(crop for part in parts for crop in part if crop[1] is not None) == sorted(batch)
        busy = [part for part in parts if part != [(batch[0][0], None)]]
        assert len(busy) == min(ranks, len(batch))
        assert max(map(len, busy)) - min(map(len, busy)) <= 1


def test_windows_of_a_chain_stay_with_one_process():
    batches = plan_windows(LENGTHS, batch_size=8, max_length=100, step=50)
    assert share_chains(batches, 0, 1) == batches
    shares = [[crop for batch in share_chains(batches, rank, 3) for crop in batch] for rank in range(3)]
    assert sorted(crop for part in shares for crop in part) == sorted(crop for batch in batches for crop in batch)
    assert all(index % 3 == rank for rank, part in enumerate(shares) for index, _ in part)
    for part in shares:
        chains = [index for index, _ in part]
        assert len({*chains}) == sum(a != b for a, b in zip(chains, [None, *chains], strict=False))


# U, B, Z, X, O and '.' are letters of both alphabets; J, a lower-case letter and '*' are of neither.
@pytest.mark.parametrize("name", ["ESM-1b", "msa_transformer"])
def test_tokens_equal_the_alphabets_own_converter(name):
    alphabet = esm.Alphabet.from_architecture(name)
    rows = [("q", "MKXWUBZO."), ("h", "-ACDYLGXK")]
    expected = alphabet.get_batch_converter()(rows)[2].squeeze(0)
    letters = np.array([list(row.encode()) for _, row in rows], np.uint8)
    tokens = tokenize(letters, alphabet)
    assert torch.equal(tokens, expected)
    assert not (tokens == alphabet.unk_idx).any()
    assert [alphabet.get_tok(token) for token in tokens[0][1:10]] == list("MKXWUBZO.")


@pytest.mark.parametrize("name", ["ESM-1b", "msa_transformer"])
def test_each_chain_begins_with_cls_and_only_esm2s_ends_with_eos(name):
    alphabet = esm.Alphabet.from_architecture(name)
    tokens = tokenize(np.frombuffer(b"MK", np.uint8), alphabet)
    assert tokens[0] == alphabet.cls_idx
    assert (tokens[-1] == alphabet.eos_idx) == (name == "ESM-1b") == (len(tokens) == 4)


@pytest.mark.parametrize("name", ["ESM-1b", "msa_transformer"])
def test_an_unknown_letter_is_unk(name):
    alphabet = esm.Alphabet.from_architecture(name)
    assert (tokenize(np.frombuffer(b"Ja*", np.uint8), alphabet)[1:4] == alphabet.unk_idx).all()


def test_padding_keeps_values_and_fills_the_rest():
    padded = pad([torch.ones(2, 2), torch.zeros(3, 3)], -1.0, dims=2)
    assert padded.shape == (2, 3, 3)
    assert padded[0].tolist() == [[1, 1, -1], [1, 1, -1], [-1, -1, -1]]
    assert pad([torch.ones(1, 5), torch.ones(4, 5)], 0.0).shape == (2, 4, 5)
