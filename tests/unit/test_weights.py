"""Pretrained weights out of a folder, the cache or an archive, a server of the tests' own: recorded and verified."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hardfold import download, weights
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


BODIES = {"models": b"PK the checkpoint", "regression": b"\x80 the regression"}


@pytest.fixture
def archive(monkeypatch):
    """Answers fair-esm's paths with `bodies`; `replies` holds (status, headers, body) that come before, by path."""
    bodies = {f"/esm/{part}/{name}": BODIES[part] for part, name in zip(BODIES, FILES, strict=True)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            queue = self.server.replies.get(self.path)
            status, headers, body = queue.pop(0) if queue else (200, {}, self.server.bodies[self.path])
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.bodies, server.replies, server.asked = bodies, {}, []
        server.address = f"http://127.0.0.1:{server.server_port}/esm"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(download.fetch.retry, "sleep", lambda seconds: None)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def hashes():
    return {name: hashlib.sha256(body).hexdigest() for name, body in zip(FILES, BODIES.values(), strict=True)}


def test_a_download_is_kept_with_its_checksums_and_then_no_network_is_needed(tmp_path, archive):
    fetch(NAME, tmp_path / "none", archive.address, False, tmp_path / "out")
    assert archive.asked == list(archive.bodies)
    record = verify(tmp_path / "out")
    source = f"{archive.address}/models/{FILES[0]}"
    assert record == {"name": NAME, "source": source, "files": hashes()} == verify(tmp_path / "cache" / NAME)
    fetch(NAME, tmp_path / "none", archive.address, True, tmp_path / "again")  # results/ was removed
    assert verify(tmp_path / "again") == record and len(archive.asked) == 2


@pytest.mark.parametrize("file", [0, 1])
def test_another_content_than_that_of_the_first_download_is_refused(tmp_path, archive, file):
    fetch(NAME, tmp_path / "none", archive.address, False, tmp_path / "out")
    path = f"/esm/{list(BODIES)[file]}/{FILES[file]}"
    kept = tmp_path / "cache" / NAME / FILES[file]
    kept.unlink()
    archive.bodies[path] += b" of another day"
    with pytest.raises(WeightsError, match=f"{path}: not the file of the first download"):
        fetch(NAME, tmp_path / "none", archive.address, False, tmp_path / "again")
    assert not kept.exists() and not (tmp_path / "again").exists()
    archive.bodies[path] = list(BODIES.values())[file]
    fetch(NAME, tmp_path / "none", archive.address, False, tmp_path / "again")
    assert verify(tmp_path / "again") == verify(tmp_path / "out")


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_changed_in_the_cache_is_refused(tmp_path, archive, file):
    fetch(NAME, tmp_path / "none", archive.address, False, tmp_path / "out")
    kept = tmp_path / "cache" / NAME / file
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=f"cache/{NAME}/{file}: not the file that was fetched"):
        fetch(NAME, tmp_path / "none", archive.address, True, tmp_path / "again")


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}, b"busy"),
        (429, {"Retry-After": "3"}, b""),
        (200, {"Content-Length": "9999"}, b"PK the first of it"),
    ],
)
@pytest.mark.parametrize("path", [0, 1])
def test_an_archive_that_stumbles_is_asked_again(tmp_path, archive, fault, path):
    archive.replies[list(archive.bodies)[path]] = [fault, fault]
    fetch(NAME, tmp_path / "none", archive.address, False, tmp_path / "out")
    assert verify(tmp_path / "out")["files"] == hashes() and len(archive.asked) == 4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((404, {}, b""), "HTTP status 404"),
        ((500, {}, b""), "HTTP status 500"),
        ((200, {"Content-Length": "9999"}, b"PK the first of it"), "IncompleteRead"),
        ((200, {}, b"<html>sign in</html>"), "what came is no file of torch"),
    ],
)
@pytest.mark.parametrize("path", [0, 1])
def test_an_archive_that_fails_leaves_no_half_file_and_no_checksum(tmp_path, archive, fault, message, path):
    url = list(archive.bodies)[path]
    archive.replies[url] = [fault] * 9
    with pytest.raises(WeightsError, match=f"{url}: .*{message}"):
        fetch(NAME, tmp_path / "none", archive.address, False, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [file.name for file in (tmp_path / "cache" / NAME).glob("*")] == FILES[:path]
    archive.replies.clear()
    fetch(NAME, tmp_path / "none", archive.address, False, tmp_path / "out")
    assert verify(tmp_path / "out")["files"] == hashes()
