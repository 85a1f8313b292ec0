"""Images by URL, from real servers on loopback: what is fetched, what is refused, and to which address one connects."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.gateway.fetching import MAX_REDIRECTS, Fetcher
from shared.errors import ImageUrlFailed, ImageUrlRefused, InvalidOption, Overloaded, SegServeError
from shared.settings import Settings
from shared.telemetry.recording import RecordingSink
from tests.bad_input import PNG, SEMANTIC
from tests.unit.gateway.running import running


@dataclass
class Far:
    """A server that answers each path with these bytes, and notes what it was asked."""

    answers: dict[str, bytes]
    port: int = 0
    pause_s: float = 0.0
    asked: list[str] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        answer = self.answers[head.split()[1]]
        try:
            for at in range(0, len(answer), 64 if self.pause_s else len(answer)):
                writer.write(answer[at:] if not self.pause_s else answer[at : at + 64])
                await writer.drain()
                await asyncio.sleep(self.pause_s)
        except ConnectionError:
            pass
        finally:
            writer.close()


def ok(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *headers, "", ""]).encode() + body


def moved(where: str) -> bytes:
    return ok(b"", f"Location: {where}", status="302 Found")


@asynccontextmanager
async def far(answers: dict[str, bytes], pause_s: float = 0.0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Far]:
    found = Far(answers, pause_s=pause_s)
    server = await asyncio.start_server(found.handle, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


def settings(port: int, **more: object) -> Settings:
    hosts = (f"127.0.0.1:{port}", f"bucket.test:{port}")
    return Settings.model_validate({"image_urls": "http", "image_url_hosts": hosts, **more})


class Names:
    """A resolver that gives each answer once, the last one ever after."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.calls = list(answers), 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.calls += 1
        return self.answers[min(self.calls, len(self.answers)) - 1]


def soon() -> float:
    return time.time() + 5


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A name that would lead elsewhere when looked up again (DNS rebinding) is not looked up again."""
    async with far({"/a.png": ok(PNG)}) as there:
        names = Names(["127.0.0.1"], ["169.254.169.254"])
        sink = RecordingSink()
        fetcher = Fetcher(settings(there.port), sink, names)
        assert await fetcher.fetch(f"http://bucket.test:{there.port}/a.png", soon()) == PNG
        assert names.calls == 1
        assert f"Host: bucket.test:{there.port}\r\n" in there.asked[0]
        assert "Accept-Encoding: identity\r\n" in there.asked[0]
        assert not any(word in there.asked[0].lower() for word in ("cookie", "authorization", "x-request-id"))
        with pytest.raises(ImageUrlRefused):
            await fetcher.fetch(f"http://bucket.test:{there.port}/a.png", soon())
        assert len(there.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://user:word@8.8.8.8/",
        "http://8.8.8.8:22/",
        "https://8.8.8.8:80/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "//8.8.8.8/",
        "a.png",
        "http://",
        "",
        "http://exa mple/",
        "http://xn--a/",
        "http://8.8.8.8:99999/",
        "http://a\n.test/",
        "http://no-such-host.invalid/",
    ],
)
async def test_refused(url: str) -> None:
    with pytest.raises(ImageUrlRefused) as caught:
        await Fetcher(settings(1), RecordingSink()).fetch(url, soon())
    assert caught.value.details[0].field == "image_url"
    assert caught.value.details[0].value == url


async def test_one_private_address_among_public_ones_refuses_and_says_what_an_unknown_host_does() -> None:
    said = []
    for found in (["8.8.8.8", "10.0.0.1"], ["169.254.169.254"], []):
        with pytest.raises(ImageUrlRefused) as caught:
            await Fetcher(settings(1), RecordingSink(), Names(found)).fetch("http://a.test/", soon())
        said.append((caught.value.message, caught.value.details))
    assert said[0] == said[1] == said[2]


async def test_redirects_are_checked_anew_and_counted() -> None:
    loop = {f"/{n}": moved(f"/{n + 1}") for n in range(MAX_REDIRECTS + 1)}
    async with far({**loop, f"/{MAX_REDIRECTS + 1}": ok(PNG), "/in": moved("http://169.254.169.254/")}) as there:
        fetcher = Fetcher(settings(there.port), RecordingSink())
        base = f"http://127.0.0.1:{there.port}"
        assert await fetcher.fetch(f"{base}/1", soon()) == PNG
        with pytest.raises(ImageUrlFailed, match="redirects"):
            await fetcher.fetch(f"{base}/0", soon())
        with pytest.raises(ImageUrlRefused) as caught:
            await fetcher.fetch(f"{base}/in", soon())
        assert "169" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ok(bytes(5000)), "more than 4096 bytes"),
        (ok(b"", "Content-Length: 5000"), "more than 4096 bytes"),
        (ok(b"x", "Content-Encoding: gzip"), "compressed"),
        (ok(b"", status="404 Not Found"), "status 404"),
        (ok(b"x", "Content-Length: 10"), "could not be fetched"),
        (b"nonsense\r\n\r\n", "could not be fetched"),
    ],
)
async def test_what_the_far_side_does_wrong(answer: bytes, says: str) -> None:
    sink = RecordingSink()
    async with far({"/": answer}) as there:
        with pytest.raises(ImageUrlFailed, match=says):
            await Fetcher(settings(there.port, max_body_bytes=4096), sink).fetch(
                f"http://127.0.0.1:{there.port}/", soon()
            )


async def test_a_slow_drip_ends_at_the_limit_and_more_at_once_than_the_cap_are_refused() -> None:
    async with far({"/": ok(PNG * 50)}, pause_s=0.05) as there:
        fetcher = Fetcher(settings(there.port, image_url_timeout_s=0.4, max_image_fetches=1), RecordingSink())
        url = f"http://127.0.0.1:{there.port}/"
        begun = time.monotonic()
        slow = asyncio.create_task(fetcher.fetch(url, soon()))
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded):
            await fetcher.fetch(url, soon())
        with pytest.raises(ImageUrlFailed, match="in time"):
            await slow
        assert time.monotonic() - begun < 2


def proof_of(name: str, folder: Path) -> Path:
    """A file with a key and a certificate of this host, signed by itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    unsigned = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    unsigned = unsigned.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    unsigned = unsigned.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(plain + unsigned.sign(key, hashes.SHA256()).public_bytes(pem))
    return path


async def test_tls_proves_the_hosts_name_not_the_address(tmp_path: Path) -> None:
    certificate = proof_of("bucket.test", tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate)
    answers = {"/": ok(PNG), "/down": b""}
    async with far(answers, tls=server) as there:
        answers["/down"] = moved(f"http://bucket.test:{there.port}/")
        names = (f"bucket.test:{there.port}", f"other.test:{there.port}")

        def trusting() -> ssl.SSLContext:
            return ssl.create_default_context(cafile=certificate)

        allowed = settings(there.port, image_url_hosts=names)
        fetcher = Fetcher(allowed, RecordingSink(), Names(["127.0.0.1"]), trusting)
        assert await fetcher.fetch(f"https://bucket.test:{there.port}/", soon()) == PNG
        with pytest.raises(ImageUrlFailed):
            await fetcher.fetch(f"https://other.test:{there.port}/", soon())
        with pytest.raises(ImageUrlFailed):
            await Fetcher(allowed, RecordingSink(), Names(["127.0.0.1"])).fetch(
                f"https://bucket.test:{there.port}/", soon()
            )
        with pytest.raises(ImageUrlRefused, match="another scheme"):
            await fetcher.fetch(f"https://bucket.test:{there.port}/down", soon())


async def test_off_by_default() -> None:
    with pytest.raises(InvalidOption, match="switched off"):
        await Fetcher(Settings(), RecordingSink()).fetch("https://8.8.8.8/", soon())


async def test_https_alone_where_only_that_is_switched_on() -> None:
    with pytest.raises(ImageUrlRefused, match="https"):
        await Fetcher(Settings(image_urls="https"), RecordingSink()).fetch("http://8.8.8.8/", soon())


async def test_over_the_routes() -> None:
    async with far({"/a.png": ok(PNG), "/text": ok(b"no image at all")}) as there:
        url = f"http://127.0.0.1:{there.port}"
        async with running(settings=settings(there.port)) as gateway:
            answer = await gateway.client.post(SEMANTIC, json={"image_url": f"{url}/a.png"})
            assert answer.status_code == 200, answer.text
            assert gateway.dense.calls[-1].image == PNG
            assert "fetch;dur=" in answer.headers["Server-Timing"]
            answer = await gateway.client.post(SEMANTIC, data={"image_url": f"{url}/a.png"})
            assert answer.status_code == 200, answer.text
            answer = await gateway.client.post("/v1/images", json={"image_url": f"{url}/a.png"})
            assert answer.status_code == 200, answer.text
            assert (await gateway.images.get("public", answer.json()["image_id"])) == PNG
            answer = await gateway.client.post(SEMANTIC, json={"image_url": f"{url}/text"})
            assert (answer.status_code, answer.json()["details"][0]["field"]) == (415, "image_url")
            for path in (SEMANTIC, "/v1/images"):
                twice = {"image_url": f"{url}/a.png"}
                answer = await gateway.client.post(path, files={"image": PNG}, data=twice)
                assert (answer.status_code, answer.json()["details"][0]["field"]) == (422, "image_url")
            assert len(there.asked) == 4


async def test_errors_show_no_more_than_a_hundred_characters() -> None:
    with pytest.raises(SegServeError) as caught:
        await Fetcher(settings(1), RecordingSink()).fetch("http://127.0.0.1/" + "a" * 500, soon())
    assert len(caught.value.details[0].value or "") == 100
