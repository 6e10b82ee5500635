"""Pretrained weights out of a folder, the cache or an archive, a server of the tests' own: recorded and verified."""

import hashlib
import io
import json
import zipfile

import pytest

from hardfold import weights
from hardfold.fetch import fetch as fetch_weights
from hardfold.weights import WeightsError, local_files, verify

ARCHIVE = "https://archive.example/fair-esm"
NAME = "esm2_t6_8M_UR50D"  # an official name
FILES = [f"{NAME}.pt", f"{NAME}-contact-regression.pt"]


def fetch(model, folder, archive, offline, output):
    """With a cache beside the output."""
    fetch_weights(model, folder=folder, cache=output.parent / "cache", archive=archive, offline=offline, output=output)


def put(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())


def digest(name):
    return hashlib.sha256(name.encode()).hexdigest()


def test_a_models_own_folder_comes_first_and_only_what_loading_needs_counts(tmp_path):
    put(tmp_path / "in" / NAME, [*FILES, "README.md", "notes.txt"])
    put(tmp_path / "in", FILES)
    # The rule's input: an edited card or list of checksums makes nothing again.
    listing(tmp_path / "in" / NAME, {})
    assert local_files(NAME, tmp_path / "in") == [tmp_path / "in" / NAME / name for name in FILES]
    fetch(NAME, tmp_path / "in", ARCHIVE, True, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert record["name"] == NAME and record["source"] == str(tmp_path / "in" / NAME)
    assert record["files"] == {name: digest(name) for name in FILES}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*FILES, "weights.json"}
    assert verify(tmp_path / "out") == record


def test_a_flat_folder_as_torch_hub_leaves_it_will_do(tmp_path):
    put(tmp_path / "in", FILES)
    fetch(NAME, tmp_path / "in", ARCHIVE, True, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*FILES, "weights.json"}
    assert local_files(NAME, tmp_path / "in") == [tmp_path / "in" / name for name in FILES]


def test_a_folding_model_is_its_config_and_weights(tmp_path):
    put(tmp_path / "in" / "esmfold_x", ["config.json", "model.safetensors", "README.md"])
    fetch("esmfold_x", tmp_path / "in", ARCHIVE, True, tmp_path / "out")
    assert set(verify(tmp_path / "out")["files"]) == {"config.json", "model.safetensors"}


def test_a_folding_models_shards_come_with_their_index(tmp_path):
    own = tmp_path / "in" / "esmfold_x"
    parts = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    put(own, ["config.json", *parts, "vocab.txt"])
    index = {"weight_map": {"a": parts[1], "b": parts[0], "c": parts[1]}}
    (own / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    fetch("esmfold_x", tmp_path / "in", ARCHIVE, True, tmp_path / "out")
    assert set(verify(tmp_path / "out")["files"]) == {"config.json", "pytorch_model.bin.index.json", *parts}
    (own / parts[0]).unlink()
    assert local_files("esmfold_x", tmp_path / "in") == []


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{",
        '{"weight_map": {"a": "../../secret"}}',
        '{"weight_map": 1}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "weights.json"}}',
    ],
)
def test_an_index_of_foreign_files_is_refused(tmp_path, index):
    put(tmp_path / "esmfold_x", ["config.json"])
    (tmp_path / "esmfold_x/model.safetensors.index.json").write_text(index)
    with pytest.raises(WeightsError, match=r"model\.safetensors\.index\.json"):
        local_files("esmfold_x", tmp_path)


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


def zipped(text):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("data.pkl"), text)
    return content.getvalue()


BODIES = {"models": zipped("the checkpoint"), "regression": b"\x80 the regression"}
PATHS = [f"/{part}/{name}" for part, name in zip(BODIES, FILES, strict=True)]


@pytest.fixture
def archive(server, waits):
    """In fair-esm's layout."""
    server.replies |= {path: [(200, {}, body)] for path, body in zip(PATHS, BODIES.values(), strict=True)}
    return server


def hashes():
    return {name: hashlib.sha256(body).hexdigest() for name, body in zip(FILES, BODIES.values(), strict=True)}


def test_a_download_is_kept_with_its_checksums_and_then_no_network_is_needed(tmp_path, archive):
    fetch(NAME, tmp_path / "none", archive.url, False, tmp_path / "out")
    assert archive.asked == PATHS
    record = verify(tmp_path / "out")
    source = f"{archive.url}/models/{FILES[0]}"
    assert record == {"name": NAME, "source": source, "files": hashes()} == verify(tmp_path / "cache" / NAME)
    fetch(NAME, tmp_path / "none", archive.url, True, tmp_path / "again")  # results/ was removed
    assert verify(tmp_path / "again") == record and len(archive.asked) == 2


@pytest.mark.parametrize("file", [0, 1])
def test_another_content_than_that_of_the_first_download_is_refused(tmp_path, archive, file):
    fetch(NAME, tmp_path / "none", archive.url, False, tmp_path / "out")
    kept, (good,) = tmp_path / "cache" / NAME / FILES[file], archive.replies[PATHS[file]]
    kept.unlink()
    archive.replies[PATHS[file]] = [(200, {}, [zipped("of another day"), b"\x80 of another day"][file])]
    with pytest.raises(WeightsError, match=f"{PATHS[file]}: not the file of the first download"):
        fetch(NAME, tmp_path / "none", archive.url, False, tmp_path / "again")
    assert not kept.exists() and not (tmp_path / "again").exists()
    archive.replies[PATHS[file]] = [good]
    fetch(NAME, tmp_path / "none", archive.url, False, tmp_path / "again")
    assert verify(tmp_path / "again") == verify(tmp_path / "out")


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_changed_in_the_cache_is_refused(tmp_path, archive, file):
    fetch(NAME, tmp_path / "none", archive.url, False, tmp_path / "out")
    kept = tmp_path / "cache" / NAME / file
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=f"cache/{NAME}/{file}: not the file that was fetched"):
        fetch(NAME, tmp_path / "none", archive.url, True, tmp_path / "again")


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}, b"busy"),
        (429, {"Retry-After": "3"}, b""),
        (200, {"Content-Length": "9999"}, b"PK the first of it"),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_an_archive_that_stumbles_is_asked_again(tmp_path, archive, fault, path):
    archive.replies[path] = [fault, fault, *archive.replies[path]]
    fetch(NAME, tmp_path / "none", archive.url, False, tmp_path / "out")
    assert verify(tmp_path / "out")["files"] == hashes() and len(archive.asked) == 4


def check_that_nothing_half_is_left(folder, archive, fault, message, path):
    good, archive.replies[path] = archive.replies[path], [fault]
    with pytest.raises(WeightsError, match=f"{path}: .*({message})"):
        fetch(NAME, folder / "none", archive.url, False, folder / "out")
    assert not (folder / "out").exists()
    assert [file.name for file in (folder / "cache" / NAME).glob("*")] == FILES[: PATHS.index(path)]
    archive.replies[path] = good
    fetch(NAME, folder / "none", archive.url, False, folder / "out")
    assert verify(folder / "out")["files"] == hashes()


@pytest.mark.parametrize("path", PATHS)
def test_whatever_the_archive_does_no_half_file_and_no_checksum_is_left(tmp_path, archive, archive_fault, path):
    check_that_nothing_half_is_left(tmp_path, archive, *archive_fault, path)


@pytest.mark.parametrize("path", PATHS)
def test_a_file_that_the_archive_lacks_is_named(tmp_path, archive, path):
    check_that_nothing_half_is_left(tmp_path, archive, (404, {}, b""), "HTTP status 404", path)
    assert archive.asked.count(path) == 2  # no attempt can mend it


WEIGHTS = zipped("the weights")
TENSORS = bytes(8) + b"{} the weights"  # as safetensors begin


@pytest.fixture
def hub(server, waits):
    """As the Hugging Face hub answers: large files lie elsewhere, with their sha256 on the way. Adds a file."""

    def add(name, body, digest=None):
        path = f"/esmfold_x/resolve/1/{name}"
        server.replies[path] = [(200, {"ETag": '"a revision\'s"'}, body)]
        if digest:
            server.replies[path] = [(302, {"Location": f"/cdn/{name}", "X-Linked-Etag": f'"{digest}"'}, b"")]
            server.replies[f"/cdn/{name}"] = [(200, {}, body)]

    server.add, server.archive = add, f"{server.url}/{{model}}/resolve/1"
    return server


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def test_a_folding_model_is_downloaded_checked_and_kept(tmp_path, hub):
    hub.add("config.json", b"{}")
    hub.add("pytorch_model.bin", WEIGHTS, sha256(WEIGHTS))
    fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "out")
    record = verify(tmp_path / "out")
    assert record["files"] == {"config.json": sha256(b"{}"), "pytorch_model.bin": sha256(WEIGHTS)}
    assert record["source"] == hub.archive.replace("{model}", "esmfold_x")
    asked = len(hub.asked)
    fetch("esmfold_x", tmp_path / "none", hub.archive, True, tmp_path / "again")
    assert verify(tmp_path / "again") == record == verify(tmp_path / "cache/esmfold_x") and len(hub.asked) == asked


def test_a_folding_models_file_that_the_cache_lost_is_the_first_downloads(tmp_path, hub):
    hub.add("config.json", b"{}")
    hub.add("pytorch_model.bin", WEIGHTS, sha256(WEIGHTS))
    fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "out")
    (tmp_path / "cache/esmfold_x/config.json").unlink()
    hub.add("config.json", b"{ }")
    with pytest.raises(WeightsError, match=r"config\.json: not the file of the first download"):
        fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "again")
    with pytest.raises(WeightsError, match=r"inputs\.offline forbids the archive"):
        fetch("esmfold_x", tmp_path / "none", hub.archive, True, tmp_path / "again")
    hub.add("config.json", b"{}")
    fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "again")
    assert hub.asked.count("/cdn/pytorch_model.bin") == 1


def test_shards_of_the_archive_are_all_downloaded(tmp_path, hub):
    hub.add("config.json", b"{}")
    hub.add("model.safetensors.index.json", b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}')
    for number in "12":
        hub.add(f"model-{number}.safetensors", TENSORS + number.encode(), sha256(TENSORS + number.encode()))
    fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "out")
    assert len(verify(tmp_path / "out")["files"]) == 4


@pytest.mark.parametrize(
    ("config", "body", "message"),
    [
        (b"{}", TENSORS + b"tampered", r"model\.safetensors: what came is not what the archive names"),
        (b"{}", b"<html>sign in</html>", r"model\.safetensors: what came is no \.safetensors file"),
        (b"<html>sign in</html>", TENSORS, r"config\.json: what came is no \.json file"),
    ],
)
def test_a_download_that_is_not_the_model_is_refused(tmp_path, hub, config, body, message):
    hub.add("config.json", config)
    hub.add("model.safetensors", body, sha256(body.removesuffix(b"tampered")))
    with pytest.raises(WeightsError, match=message):
        fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache/esmfold_x/weights.json").exists()


def test_a_folding_model_that_the_archive_lacks_is_asked_of_the_user(tmp_path, hub):
    with pytest.raises(WeightsError, match=rf"has none of model\.safetensors, .*{tmp_path}/none/esmfold_x/ needs"):
        fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "out")
    assert len(hub.asked) == len(weights.FOLDING_WEIGHTS)


def test_the_first_half_of_a_zip_archive_is_refused_whatever_its_length_says(tmp_path, archive):
    half = BODIES["models"][:-30]
    check_that_nothing_half_is_left(tmp_path, archive, (200, {}, half), "no \\.pt file", PATHS[0])


@pytest.mark.parametrize(
    ("model", "expected"),
    [("esm2_t33_650M_UR50D", 5200), ("esm2_t36_3B_UR50D", 24000), ("esmfold_v1", 25400), (NAME, 1)],
)
def test_memory_for_loading_is_of_the_files_or_the_name(tmp_path, model, expected):
    put(tmp_path, FILES)  # a hundred bytes: of a model that is there they count
    assert weights.loading_mb(model, tmp_path, tmp_path / "cache") == expected
