import hashlib
import json

import pytest
import torch

from hardfold import weights
from hardfold.weights import WeightsError, fetch, local_files, verify

ARCHIVE = "https://archive.example/fair-esm"
NAME = "esm2_t6_8M_UR50D"  # an official name
FILES = [f"{NAME}.pt", f"{NAME}-contact-regression.pt"]


def put(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())


def digest(name):
    return hashlib.sha256(name.encode()).hexdigest()


def test_a_models_own_folder_comes_first_with_its_card(tmp_path):
    put(tmp_path / "in" / NAME, [*FILES, "README.md", "notes.txt"])
    put(tmp_path / "in", FILES)
    fetch(NAME, tmp_path / "in", ARCHIVE, True, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert record["name"] == NAME and record["source"] == str(tmp_path / "in" / NAME)
    assert record["files"] == {name: digest(name) for name in sorted([*FILES, "README.md"])}
    assert verify(tmp_path / "out") == record


def test_a_flat_folder_as_torch_hub_leaves_it_will_do(tmp_path):
    put(tmp_path / "in", FILES)
    fetch(NAME, tmp_path / "in", ARCHIVE, True, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*FILES, "weights.json"}
    assert local_files(NAME, tmp_path / "in") == [tmp_path / "in" / name for name in FILES]


def test_a_folding_model_is_its_config_and_weights(tmp_path):
    put(tmp_path / "in" / "esmfold_x", ["config.json", "model.safetensors", "README.md"])
    fetch("esmfold_x", tmp_path / "in", ARCHIVE, True, tmp_path / "out")
    assert set(verify(tmp_path / "out")["files"]) == {"config.json", "model.safetensors", "README.md"}


@pytest.mark.parametrize("model", [NAME, "esm_msa1b_t12_100M_UR50S", "esmfold_x"])
def test_missing_weights_name_folder_and_files(tmp_path, model):
    with pytest.raises(WeightsError) as fault:
        fetch(model, tmp_path / "in", ARCHIVE, True, tmp_path / "out")
    assert f"{tmp_path}/in/{model}/" in str(fault.value)
    assert all(name in str(fault.value) for name in weights.required_files(model))


@pytest.mark.parametrize("model", ["../esm2", "esm2 t6", "", ".hidden", "a/b"])
def test_a_name_that_is_no_name_is_refused(tmp_path, model):
    with pytest.raises(WeightsError, match="not a model's name"):
        fetch(model, tmp_path, ARCHIVE, True, tmp_path / "out")


def listing(folder, changes):
    hashes = {name: digest(name) for name in FILES} | changes
    (folder / "SHA256SUMS").write_text("".join(f"{value}  {name}\n" for name, value in hashes.items() if value))


def test_checksums_beside_the_files_are_verified(tmp_path):
    folder = tmp_path / "in" / NAME
    put(folder, FILES)
    listing(folder, {})
    fetch(NAME, tmp_path / "in", ARCHIVE, True, tmp_path / "good")
    listing(folder, {FILES[0]: "0" * 64})
    with pytest.raises(WeightsError, match=f"{FILES[0]}: its sha256 differs"):
        fetch(NAME, tmp_path / "in", ARCHIVE, True, tmp_path / "bad")
    listing(folder, {FILES[1]: None})
    with pytest.raises(WeightsError, match=f"{FILES[1]}: not listed"):
        fetch(NAME, tmp_path / "in", ARCHIVE, True, tmp_path / "unlisted")


def test_a_file_changed_after_the_fetch_is_found(tmp_path):
    put(tmp_path / "in" / NAME, FILES)
    fetch(NAME, tmp_path / "in", ARCHIVE, True, tmp_path / "out")
    (tmp_path / "out" / FILES[0]).write_bytes(b"other")
    with pytest.raises(WeightsError, match=FILES[0]):
        verify(tmp_path / "out")


@pytest.fixture
def checkpoints(tmp_path):
    """What an archive has: file -> its bytes, of torch's two formats."""
    torch.save({}, tmp_path / "new")
    torch.save({}, tmp_path / "old", _use_new_zipfile_serialization=False)
    return dict(zip(FILES, [(tmp_path / name).read_bytes() for name in ("new", "old")], strict=True))


@pytest.fixture
def served(server, checkpoints, waits):
    """An archive in fair-esm's layout."""
    for part, name in zip(("models", "regression"), FILES, strict=True):
        server.replies[f"/{part}/{name}"] = [(200, {}, checkpoints[name])]
    return server


def test_the_archive_is_asked_for_the_official_paths(tmp_path, served, checkpoints):
    fetch(NAME, tmp_path / "none", f"{served.url}/", False, tmp_path / "out")
    assert served.asked == [f"/models/{FILES[0]}", f"/regression/{FILES[1]}"]
    record = verify(tmp_path / "out")
    assert record["source"] == f"{served.url}/models/{FILES[0]}"
    assert record["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in checkpoints.items()}


def test_whatever_the_archive_does_weights_come_whole_or_with_one_clear_error(tmp_path, served, archive_fault):
    fault, message = archive_fault
    path = f"/regression/{FILES[1]}"
    whole = served.replies[path]
    served.replies[path] = [fault]
    with pytest.raises(WeightsError, match=rf"{served.url}{path}: .*({message}).*; without a network, .* needs"):
        fetch(NAME, tmp_path / "none", served.url, False, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == [FILES[0]]  # whole, and without a record
    served.replies[path] = whole if "no checkpoint" in message else [fault, fault, *whole]
    fetch(NAME, tmp_path / "none", served.url, False, tmp_path / "out")
    assert set(verify(tmp_path / "out")["files"]) == set(FILES)


def test_a_name_that_the_archive_does_not_have_is_asked_for_once(tmp_path, server, waits):
    with pytest.raises(WeightsError, match="HTTP status 404"):
        fetch(NAME, tmp_path / "none", server.url, False, tmp_path / "out")
    assert len(server.asked) == 1 and not list((tmp_path / "out").iterdir())
