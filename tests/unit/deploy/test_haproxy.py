"""What the wrapper makes of a configuration, and what it refuses to make anything of."""

from __future__ import annotations

import pytest

from deploy.haproxy import MARK, OWN_ANSWERS, Door, NotUnderstood, closed, sections

SERVES = """global
    # who may do what
    log 127.0.0.1:514 local0 info
    stats socket /run/x/admin.sock mode 666 level admin expose-fd listeners
    nbthread 4
defaults
    mode http
    option httplog
    errorfile 502 /run/x/500.http
    errorfile 503 /run/x/500.http
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path not found"
backend http-gateway
    server r1 127.0.0.1:30000 check
listen stats
  bind *:8404
  stats enable
"""
HERE = Door("127.0.0.1", 8000, 2**25, 2**31)


def lines(text: str, header: str) -> list[str]:
    return dict(sections(text))[header]


def test_one_way_in_is_left_and_the_rest_is_kept() -> None:
    text = closed(SERVES, HERE)
    assert text.startswith(MARK)
    assert [line.strip() for line in text.splitlines() if line.strip().startswith("bind")] == [
        "bind ipv4@127.0.0.1:8000"
    ]
    assert lines(text, "global") == [
        "stats socket /run/x/admin.sock mode 600 level admin expose-fd listeners",
        "nbthread 4",
    ]
    assert lines(text, "backend http-gateway") == ["server r1 127.0.0.1:30000 check"]
    assert "stats enable" not in text
    assert "500.http" not in text


def test_each_failure_of_its_own_has_an_answer_of_ours() -> None:
    told = [line for line in lines(closed(SERVES, HERE), "defaults") if line.startswith("http-error")]
    assert [int(line.split()[2]) for line in told] == list(OWN_ANSWERS)
    assert all(("Retry-After" in line) == ("X-Answered-As 503" in line) for line in told)
    assert any(line.startswith("http-error status 502 ") and "X-Answered-As 503" in line for line in told)


@pytest.mark.parametrize(
    ("host", "bind"),
    [("0.0.0.0", "ipv4@0.0.0.0:80"), ("::", "ipv6@[::]:80"), ("fd00::1", "ipv6@[fd00::1]:80")],
)
def test_the_public_address_is_the_one_that_was_asked_for(host: str, bind: str) -> None:
    assert f"bind {bind}" in lines(closed(SERVES, Door(host, 80, 1, 1)), "frontend http_frontend")


@pytest.mark.parametrize(("allowed", "who"), [(False, "always_false"), (True, "src 127.0.0.0/8 ::1")])
def test_serves_page_is_for_probes_of_this_node_alone_where_they_are_wanted(allowed: bool, who: str) -> None:
    written = lines(closed(SERVES, Door("0.0.0.0", 80, 1, 1, allowed)), "frontend http_frontend")
    assert f"acl probe_allowed {who}" in written
    assert "http-request return status 404 default-errorfiles if own !probe or own !probe_allowed" in written


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("listen stats", "listen pages"), "listen pages"),
        (("backend http-gateway\n", "backend http-gateway\n    bind *:1\n"), "it would listen"),
        (("    bind 127.0.0.1:8000\n", ""), "not exactly one bind"),
        ((" mode 666 ", " "), "admin sockets"),
        (("global\n", "global\n    stats socket *:1\n"), "admin sockets"),
        (("backend default_backend", "backend other"), "default_backend"),
    ],
)
def test_what_it_does_not_know_it_refuses(change: tuple[str, str], said: str) -> None:
    with pytest.raises(NotUnderstood, match=said):
        closed(SERVES.replace(*change), HERE)
