import hashlib
import json
from email.message import Message
from io import BytesIO

import pytest

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


class Archive:
    """Stands for urlopen: answers each URL with its file's name, after `faults` truncated answers."""

    def __init__(self, faults):
        self.faults, self.asked = faults, []

    def __call__(self, url, timeout):
        self.asked.append(url)
        body = url.rsplit("/", 1)[1].encode()
        response = BytesIO(body)
        if self.faults:
            self.faults -= 1
            response = BytesIO(body[:3])
        response.headers = Message()
        response.headers["Content-Length"] = str(len(body))
        return response


def test_the_archive_is_asked_for_the_official_paths_and_again_after_a_fault(tmp_path, monkeypatch):
    archive = Archive(faults=1)
    monkeypatch.setattr(weights.urllib.request, "urlopen", archive)
    fetch(NAME, tmp_path / "none", ARCHIVE, False, tmp_path / "out")
    models, regression = f"{ARCHIVE}/models/{FILES[0]}", f"{ARCHIVE}/regression/{FILES[1]}"
    assert archive.asked == [models, models, regression]
    assert verify(tmp_path / "out")["files"] == {name: digest(name) for name in FILES}


def test_an_archive_that_fails_leaves_no_half_file(tmp_path, monkeypatch):
    monkeypatch.setattr(weights.urllib.request, "urlopen", Archive(faults=9))
    with pytest.raises(WeightsError, match="3 of 19 bytes came"):
        fetch(NAME, tmp_path / "none", ARCHIVE, False, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
