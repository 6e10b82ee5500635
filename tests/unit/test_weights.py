import hashlib
import json
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from types import SimpleNamespace

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


@pytest.mark.parametrize("index", ["[]", "{", '{"weight_map": {"a": "../../secret"}}', '{"weight_map": 1}'])
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


@pytest.fixture
def hub():
    """A server that answers as the Hugging Face hub does: large files lie elsewhere, with their sha256 on the way."""
    files, linked, asked = {}, {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(b"")

        def do_GET(self):
            asked.append(self.path)
            self.answer(files.get(self.path.removeprefix("/cdn"), b""))

        def answer(self, body):
            if self.path in linked:
                self.send_response(302)
                self.send_header("Location", f"/cdn{self.path}")
                self.send_header("X-Linked-Etag", f'"{linked[self.path]}"')
            else:
                self.send_response(200 if self.path.removeprefix("/cdn") in files else 404)
                self.send_header("Content-Length", str(len(files.get(self.path.removeprefix("/cdn"), b""))))
            self.end_headers()
            self.wfile.write(body if self.path not in linked else b"")

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def add(name, body, digest=None):
        path = f"/esmfold_x/resolve/1/{name}"
        files[path] = body
        if digest is not None:
            linked[path] = digest

    yield SimpleNamespace(archive=f"http://127.0.0.1:{server.server_port}/{{model}}/resolve/1", add=add, asked=asked)
    server.shutdown()
    server.server_close()


def test_a_folding_model_is_downloaded_and_checked(tmp_path, hub):
    hub.add("config.json", b"{}")
    hub.add("pytorch_model.bin", b"weights", hashlib.sha256(b"weights").hexdigest())
    fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "out")
    record = verify(tmp_path / "out")
    assert set(record["files"]) == {"config.json", "pytorch_model.bin"}
    assert record["source"] == hub.archive.replace("{model}", "esmfold_x")
    assert (tmp_path / "out/pytorch_model.bin").read_bytes() == b"weights"


def test_shards_of_the_archive_are_all_downloaded(tmp_path, hub):
    hub.add("config.json", b"{}")
    hub.add("model.safetensors.index.json", b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}')
    for number in "12":
        hub.add(f"model-{number}.safetensors", number.encode(), hashlib.sha256(number.encode()).hexdigest())
    fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "out")
    assert len(verify(tmp_path / "out")["files"]) == 4


def test_a_download_that_is_not_what_the_archive_names_is_refused(tmp_path, hub):
    hub.add("config.json", b"{}")
    hub.add("model.safetensors", b"tampered", hashlib.sha256(b"weights").hexdigest())
    with pytest.raises(WeightsError, match=r"model\.safetensors: what came is not what the archive names"):
        fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_folding_model_that_the_archive_lacks_is_asked_of_the_user(tmp_path, hub):
    with pytest.raises(WeightsError, match=rf"has none of model\.safetensors, .*{tmp_path}/none/esmfold_x/ needs"):
        fetch("esmfold_x", tmp_path / "none", hub.archive, False, tmp_path / "out")
    assert hub.asked == []
