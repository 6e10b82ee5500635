"""The files of embed_chains: what they hold, how large they are, and which are refused."""

import shutil

import h5py
import numpy as np
import pytest
import torch

from hardfold import backbones
from hardfold.contact.columns import describe_columns
from hardfold.contact.embed import embed, embed_chains, estimate
from hardfold.contact.embeddings import Embeddings, EmbeddingsError, pack
from hardfold.contact.encoders import AlignmentEncoder, SequenceEncoder
from hardfold.contact.keys import COUPLINGS, embedding_entries
from hardfold.couplings import couplings, standardised
from hardfold.dataset import FORMAT_VERSION, Dataset

ENCODERS = {
    "esm2": lambda frozen: SequenceEncoder(*backbones.build_esm2(2, 8, 2), frozen=frozen),
    "esm_msa": lambda frozen: AlignmentEncoder(*backbones.build_esm_msa(2, 8, 2), frozen=frozen),
}


def entries(options, frozen):
    attention = {"use_esm2_attention": True, "use_msa_attention": True}
    frozen = {"num_layers_to_freeze_esm2": frozen, "num_layers_to_freeze_msa": frozen}
    return embedding_entries({**options, **frozen, **attention})


def test_keys_name_the_model_the_layer_the_rows_and_the_content(options):
    keys = {name: entry["key"] for name, entry in entries(options, 2).items()}
    assert keys == {
        "esm2": "esm2_t2_tiny.layer2.features",
        "esm2_attention": "esm2_t2_tiny.layer2.attention",
        "esm_msa": "esm_msa1b_t2_tiny.layer2.rows3.features",
        "esm_msa_attention": "esm_msa1b_t2_tiny.layer2.rows3.attention",
    }
    assert not entries(options, 0)
    assert list(embedding_entries({**options, "use_msa": False})) == ["esm2"]


@pytest.mark.parametrize("frozen", [1, 2])
@pytest.mark.parametrize("name", ["esm2", "esm2_attention", "esm_msa", "esm_msa_attention"])
def test_arrays_have_their_shapes_and_the_estimated_size(options, chain_files, tmp_path, name, frozen):
    entry = entries(options, frozen)[name]
    encoder = ENCODERS[entry["encoder"]](frozen)
    embed(encoder, entry, chain_files["train"], tmp_path / "train.h5")
    chains, size = Dataset(chain_files["train"]), 0
    with h5py.File(tmp_path / "train.h5") as file:
        assert sorted(file) == chains.ids
        for id, length in zip(chains.ids, chains.lengths(), strict=True):
            rows, size = min(3, len(chains[id].msa)), size + file[id].nbytes
            shapes = {
                "esm2": (length + 2, 8) if frozen == 1 else (length, 8),
                "esm_msa": (rows, length + 1, 8) if frozen == 1 else (length, 8),
            }
            assert file[id].shape == shapes.get(name, (2 * frozen, length * (length + 1) // 2))
            assert file[id].dtype == (np.float16 if "attention" in name else np.float32)
        attributes = {key: file.attrs[key] for key in ("model", "layer", "rows", "content", "weights")}
    assert attributes == {**{key: entry[key] for key in ("model", "layer", "rows", "content")}, "weights": ""}
    most = estimate(encoder, entry, chains.lengths())
    assert size <= most and (size == most or (name == "esm_msa" and frozen == 1))


def test_any_part_of_packed_maps_is_read_back(tmp_path, options, chain_files):
    maps = np.random.default_rng(0).random((3, 19, 19)).astype(np.float16)
    maps = (maps + maps.transpose(0, 2, 1)) / 2
    entry, encoder = entries(options, 2)["esm2_attention"], ENCODERS["esm2"](2)
    embed(encoder, entry, chain_files["test"], tmp_path / "test.h5")
    with h5py.File(tmp_path / "test.h5", "a") as file:
        file["made_up"] = pack(maps)
    file = Embeddings(tmp_path / "test.h5", entry, "", chain_files["test"])
    for start, stop in ((0, 19), (0, 1), (18, 19), (4, 11)):
        assert np.array_equal(file.maps("made_up", start, stop), maps[:, start:stop, start:stop])


def test_the_rule_records_the_checkpoint_that_it_used(weight_folders, chain_files):
    (file,) = (chain_files["train"].parent / "embeddings").glob("esm2*/train.h5")
    with h5py.File(file) as embeddings:
        recorded = embeddings.attrs["weights"]
    assert f'"{recorded}"' in (weight_folders["esm2"] / "weights.json").read_text()


def test_couplings_are_those_of_the_whole_alignment(options, chain_files, tmp_path):
    describe_columns("couplings", [chain_files["test"]], [tmp_path / "test.h5"])
    file, chains = Embeddings(tmp_path / "test.h5", COUPLINGS, "", chain_files["test"]), Dataset(chain_files["test"])
    assert embedding_entries({**options, "use_couplings": True})["couplings"] == COUPLINGS
    for id in chains.ids:
        expected = standardised(couplings(chains[id].msa))
        assert np.array_equal(file.maps(id, 0, len(expected)), expected[None].astype(np.float16))


def test_embeddings_of_something_else_are_refused(options, chain_files, tmp_path):
    entry, chains, file = entries(options, 1)["esm_msa"], tmp_path / "test.h5", tmp_path / "embedded.h5"
    shutil.copy(chain_files["test"], chains)
    embed(ENCODERS["esm_msa"](1), entry, chains, file)
    Embeddings(file, entry, "", chains)
    with pytest.raises(EmbeddingsError, match=r"embedded\.h5: made with weights , not 0123"):
        Embeddings(file, entry, "0123", chains)
    with pytest.raises(EmbeddingsError, match="made with layer 1, not 2"):
        Embeddings(file, {**entry, "layer": 2}, "", chains)
    with pytest.raises(EmbeddingsError, match="made with rows 3, not 4"):
        Embeddings(file, {**entry, "rows": 4}, "", chains)
    (id, *_) = Dataset(chains).ids
    with h5py.File(chains, "a") as source:
        source[f"chains/{id}/msa"][0, 5] = ord("W") if source[f"chains/{id}/msa"][0, 5] != ord("W") else ord("Y")
    with pytest.raises(EmbeddingsError, match=f"not of {id} as it stands in"):
        Embeddings(file, entry, "", chains)


def test_chains_beyond_the_alignment_model_are_named_and_nothing_is_written(options, tmp_path):
    with h5py.File(tmp_path / "long.h5", "w") as file:
        file.attrs["format_version"] = FORMAT_VERSION
        file["chains/9xyz_A/mask"] = [True] * 1024
    with pytest.raises(EmbeddingsError, match="9xyz_A: longer than the 1023 residues"):
        embed(ENCODERS["esm_msa"](1), entries(options, 1)["esm_msa"], tmp_path / "long.h5", tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_the_log_says_how_large_the_file_will_be(options, chain_files, tmp_path, weight_folders, caplog):
    entry = entries(options, 1)["esm2"]
    with caplog.at_level("INFO"):
        embed_chains(
            embedding=entry, weights=weight_folders["esm2"], chains={"test": chain_files["test"]},
            outputs={"test": tmp_path / "test.h5"}, threads=1,
        )  # fmt: skip
    assert "features of 4 chains, at most 0.0 MB" in caplog.text
    assert torch.get_num_threads() == 1
