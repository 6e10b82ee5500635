import esm
import numpy as np
import torch

from hardfold.batches import pad, plan_epoch, plan_whole, tokenize

LENGTHS = [int(n) for n in np.random.default_rng(0).integers(40, 300, 100)]


def plan(seed=1, batch_size=4, max_length=128):
    return plan_epoch(LENGTHS, batch_size, max_length, np.random.default_rng(seed))


def test_an_epoch_holds_every_chain_once_in_batches_of_the_size():
    batches = plan()
    assert sorted(index for batch in batches for index, _ in batch) == list(range(100))
    assert max(map(len, batches)) == 4


def test_crops_lie_inside_their_chain_and_short_chains_are_whole():
    starts = dict(crop for batch in plan() for crop in batch)
    assert all(0 <= starts[i] <= max(0, length - 128) for i, length in enumerate(LENGTHS))
    assert any(starts.values())


def test_order_and_crops_come_from_the_generator_alone():
    assert plan(seed=3) == plan(seed=3)
    assert plan(seed=3) != plan(seed=4)


def test_like_lengths_share_a_batch():
    def padding(batches):
        lengths = [[min(LENGTHS[i], 300) for i, _ in batch] for batch in batches]
        return sum(max(batch) * len(batch) - sum(batch) for batch in lengths)

    order = np.random.default_rng(0).permutation(100)
    shuffled = [[(int(i), 0) for i in order[k : k + 4]] for k in range(0, 100, 4)]
    assert padding(plan(max_length=300)) < 0.3 * padding(shuffled)


def test_whole_chains_keep_to_the_budget_and_a_long_one_stands_alone():
    batches = plan_whole([50, 300, 40, 60], residues=120)
    assert batches == [[(2, 0), (0, 0)], [(3, 0)], [(1, 0)]]


def test_tokens_equal_the_alphabets_own_converter():
    for name, sequence in (("ESM-1b", "MKXWUBZO"), ("msa_transformer", "MK-W")):
        alphabet = esm.Alphabet.from_architecture(name)
        rows = [("q", sequence), ("h", sequence[::-1])]
        expected = alphabet.get_batch_converter()(rows)[2].squeeze(0)
        letters = np.array([list(row.encode()) for _, row in rows], np.uint8)
        assert torch.equal(tokenize(letters, alphabet), expected)


def test_an_unknown_letter_is_unk():
    alphabet = esm.Alphabet.from_architecture("ESM-1b")
    assert tokenize(np.frombuffer(b"J", np.uint8), alphabet)[1] == alphabet.unk_idx


def test_padding_keeps_values_and_fills_the_rest():
    padded = pad([torch.ones(2, 2), torch.zeros(3, 3)], -1.0, dims=2)
    assert padded.shape == (2, 3, 3)
    assert padded[0].tolist() == [[1, 1, -1], [1, 1, -1], [-1, -1, -1]]
    assert pad([torch.ones(1, 5), torch.ones(4, 5)], 0.0).shape == (2, 4, 5)
