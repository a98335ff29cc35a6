"""The server of a page under test gives and takes what it was told to, from whoever knows its secret."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator

import pytest

from edge.bench.page_server import GONE, WEB, PageServer, import_map_hash


@pytest.fixture
def server() -> Iterator[PageServer]:
    """Give a server with one file that takes one array of 8 bytes."""
    with PageServer({"job.json": b"{}", "engine/x.wasm": b"wasm"}, {"tensor": 8}) as made:
        yield made


def _ask(
    server: PageServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(server.host, timeout=30)
    try:
        connection.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def test_it_gives_its_files_isolated_and_forbids_every_other_address(server: PageServer) -> None:
    status, content, headers = _ask(server, f"/{server.secret}/engine/x.wasm")

    assert (status, content) == (200, b"wasm")
    assert headers["Content-Type"] == "application/wasm"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy
    assert re.search(r"https?:", policy) is None
    assert server.refused == []


def test_every_file_of_the_page_is_there(server: PageServer) -> None:
    names = {path.name for path in WEB.iterdir()}

    assert {"index.html", "main.js", "page.css"} <= names
    assert all(_ask(server, f"/{server.secret}/{name}")[0] == 200 for name in names)


@pytest.mark.parametrize(
    "path", ["/", "/index.html", "/SECRET", "/SECRET/", "/SECRET/../index.html", "/SECRET/nothing", "/wrong/index.html"]
)
def test_it_gives_nothing_else_and_notes_who_asked(server: PageServer, path: str) -> None:
    assert _ask(server, path.replace("SECRET", server.secret))[:2] == (404, b"")
    assert len(server.refused) == 1
    assert server.secret not in server.refused[0]


def test_a_foreign_host_name_is_refused_so_that_no_name_can_be_pointed_here(server: PageServer) -> None:
    assert _ask(server, f"/{server.secret}/job.json", Host="evil.example")[0] == 404


def test_events_are_kept_in_order_and_arrays_by_name(server: PageServer) -> None:
    base = f"/{server.secret}"
    for line in (b'{"event": "start"}', b'{"event": "done"}'):
        assert _ask(server, f"{base}/event", "POST", line)[0] == 200
    assert _ask(server, f"{base}/blob/tensor", "POST", b"12345678")[0] == 200

    assert [server.lines.get(timeout=5) for _ in range(2)] == ['{"event": "start"}', '{"event": "done"}']
    assert server.blobs == {"tensor": b"12345678"}


@pytest.mark.parametrize(
    ("name", "size", "headers"),
    [
        ("blob/tensor", 9, {}),
        ("blob/other", 1, {}),
        ("event", (4 << 20) + 1, {}),
        ("event", 2, {"Sec_Fetch_Site": "cross-site"}),
    ],
)
def test_it_takes_nothing_larger_foreign_or_unknown(
    server: PageServer, name: str, size: int, headers: dict[str, str]
) -> None:
    try:
        status = _ask(server, f"/{server.secret}/{name}", "POST", b"x" * size, **headers)[0]
    except (ConnectionError, http.client.HTTPException):
        status = 404  # the answer was lost because the body was not read

    assert status == 404
    assert server.lines.empty()
    assert server.blobs == {}


def test_a_page_that_goes_away_is_noticed(server: PageServer) -> None:
    connection = http.client.HTTPConnection(server.host, timeout=30)
    connection.request("GET", f"/{server.secret}/alive")
    answer = connection.getresponse()
    assert server.lines.empty()

    answer.close()
    connection.close()

    assert server.lines.get(timeout=30) is GONE


def test_the_page_has_one_inline_script_which_its_hash_allows(server: PageServer) -> None:
    page = (WEB / "index.html").read_bytes()

    assert import_map_hash(page) in server.headers["Content-Security-Policy"]
    assert len(re.findall(rb"<script(?! type=\"module\" src=)", page)) == 1


def test_the_page_names_no_address_outside_its_server() -> None:
    found = {
        path.name: re.findall(r"""(?:https?|wss?):?//[^\s"'`]*""", path.read_text(encoding="utf-8"))
        for path in WEB.iterdir()
    }

    assert {name: urls for name, urls in found.items() if urls} == {}
