"""Where weights lie, and fetching them, against a server on the loopback interface."""

import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from samfleet.sam import fetching, weights
from samfleet.sam.fetching import FetchError, fetch_weights
from samfleet.sam.weights import (
    MODEL_NAMES,
    OFFICIAL_WEIGHTS,
    OfficialWeights,
    default_cache_folder,
    weights_path,
)

CONTENT = bytes(range(256)) * 400


class _Server(ThreadingHTTPServer):
    """Serves `content` under any name; breaks off after `stop_after` bytes if that is set."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.stop_after, self.requests = CONTENT, None, 0
        self.announce, self.pause, self.over = True, 0.0, threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/models"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        self.send_response(200)
        if self.server.announce:
            self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        if not self.server.pause:
            self.wfile.write(self.server.content[: self.server.stop_after])
            return
        for byte in self.server.content:
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                break
            if self.server.over.wait(self.server.pause):
                break

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield running
        running.over.set()
        running.shutdown()


def _small(sha256: str | None = None, size: int = len(CONTENT)) -> OfficialWeights:
    sha256 = sha256 or hashlib.sha256(CONTENT).hexdigest()
    return OfficialWeights("small.pth", "http://127.0.0.1:9/small.pth", size, sha256)


def _fetch(server: _Server, path: Path, official: OfficialWeights | None = None) -> Path:
    return fetch_weights(
        "vit_b", path, base_url=server.url, official=official or _small(), progress=False
    )


def test_every_model_but_tiny_has_official_weights():
    assert set(OFFICIAL_WEIGHTS) == set(MODEL_NAMES) - {"tiny"}
    for name, official in OFFICIAL_WEIGHTS.items():
        assert official.file_name.startswith(f"sam_{name}_")
        assert official.url.endswith(f"/segment_anything/{official.file_name}")


def test_path_of_weights(tmp_path):
    assert weights_path("vit_b", "my/own.pth") == Path("my/own.pth")
    assert weights_path("vit_b", "~/own.pth") == Path.home() / "own.pth"
    assert weights_path("tiny").is_file()
    assert weights_path("vit_h", "", tmp_path) == tmp_path / "sam_vit_h_4b8939.pth"
    with pytest.raises(ValueError, match="vit_b"):
        weights_path("vit_x")


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "samfleet"
    assert weights_path("vit_b").parent == tmp_path / "samfleet"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_folder() == Path.home() / ".cache" / "samfleet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_folder() == Path.home() / ".cache" / "samfleet"


def test_fetches_once(server, tmp_path):
    path = tmp_path / "cache" / "weights.pth"
    assert _fetch(server, path) == path
    assert path.read_bytes() == CONTENT
    _fetch(server, path)
    assert server.requests == 1
    assert [p.name for p in path.parent.iterdir()] == ["weights.pth"]


def test_a_damaged_copy_is_fetched_again(server, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(CONTENT[:-1] + b"?")
    _fetch(server, path)
    assert path.read_bytes() == CONTENT


def test_calls_at_the_same_time_leave_one_whole_file(server, tmp_path):
    path = tmp_path / "weights.pth"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _fetch(server, path), range(4)))
    assert path.read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pth"]


def test_wrong_digest_leaves_nothing_and_says_what_to_do(server, tmp_path):
    path, official = tmp_path / "weights.pth", _small(sha256="0" * 64)
    with pytest.raises(FetchError) as caught:
        _fetch(server, path, official)
    for part in (f"{server.url}/small.pth", "small.pth", "0" * 64, str(path), "sam.checkpoint"):
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_truncated_transfer_leaves_nothing(server, tmp_path):
    server.stop_after = len(CONTENT) // 2
    with pytest.raises(FetchError, match=r"cannot fetch small\.pth"):
        _fetch(server, tmp_path / "weights.pth")
    assert not list(tmp_path.iterdir())
    server.stop_after = None
    assert _fetch(server, tmp_path / "weights.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_file_of_another_size_is_not_fetched(server, tmp_path, announce, size):
    server.announce = announce
    with pytest.raises(FetchError, match=f"but it must be {size:,}"):
        _fetch(server, tmp_path / "weights.pth", _small(size=size))
    assert not list(tmp_path.iterdir())


def test_a_server_that_stalls_or_trickles_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_READ_SECONDS", 0.5)
    server.pause = 60
    with pytest.raises(FetchError, match="timed out"):
        _fetch(server, tmp_path / "weights.pth")
    server.pause = 0.05
    monkeypatch.setattr(fetching, "_SLOWEST", 10**6)
    with pytest.raises(FetchError, match="slower than 1,000,000 bytes a second"):
        _fetch(server, tmp_path / "weights.pth")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_fetch_left_is_removed_when_it_is_old(server, tmp_path):
    left = tmp_path / ".weights.pth.x1y2.part"
    left.mkdir()
    (left / "tmp3").write_bytes(CONTENT)
    _fetch(server, tmp_path / "weights.pth")
    assert left.exists(), "another process may be at work on it"
    os.utime(left, (1, 1))
    (tmp_path / "weights.pth").unlink()
    _fetch(server, tmp_path / "weights.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]


def test_no_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(FetchError) as caught:  # port 9 is closed
        fetch_weights("vit_b", tmp_path / "weights.pth", official=_small(), progress=False)
    assert "http://127.0.0.1:9/small.pth" in str(caught.value)
    assert f"{len(CONTENT):,} bytes" in str(caught.value)


def test_a_full_disk_is_told_before_the_transfer(server, tmp_path):
    with pytest.raises(FetchError) as caught:
        _fetch(server, tmp_path / "weights.pth", _small(size=10**18))
    assert f"sam.cache_folder: {tmp_path} cannot be used: it has" in str(caught.value)
    assert "bytes free, but the file needs 1,000,000,000,000,000,000; make room" in str(
        caught.value
    )
    assert "internet" not in str(caught.value)
    assert server.requests == 0


def test_a_cache_folder_that_is_closed_is_not_blamed_on_the_network(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        FetchError, match=r"sam\.cache_folder: .*/file.* cannot be used: .*move away"
    ):
        _fetch(server, tmp_path / "file" / "cache" / "weights.pth")


def test_tiny_has_nothing_to_fetch(tmp_path):
    with pytest.raises(ValueError, match="vit_b, vit_l, vit_h"):
        fetch_weights("tiny", tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "fault",
    [
        {"file_name": "a/b.pth"},
        {"file_name": ""},
        {"url": "ftp://127.0.0.1/x"},
        {"size": 0},
        {"sha256": "A" * 64},
        {"sha256": "0" * 63},
    ],
)
def test_impossible_facts_are_refused(fault):
    facts = {"file_name": "x.pth", "url": "http://127.0.0.1/x", "size": 1, "sha256": "0" * 64}
    with pytest.raises(ValueError, match=next(iter(fault))):
        OfficialWeights(**(facts | fault))


def test_module_needs_the_standard_library_alone():
    code = (
        "import sys; before = set(sys.modules); import samfleet.sam.weights;"
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - {'samfleet'};"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    root = Path(weights.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
