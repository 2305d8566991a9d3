from __future__ import annotations

import pytest

from ui.hosts import SHARE, SPACE, SPACE_FRAMES, Hosts, security_headers


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:7860",
        "localhost",
        "LOCALHOST:80",
        "[::1]:7860",
        "192.168.1.4:7860",
        "a.localhost",
    ],
)
def test_addresses_and_localhost_are_always_allowed(host):
    assert Hosts().allows(host)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "1"]
)
def test_unknown_names_are_not(host):
    assert not Hosts().allows(host)


def test_further_names_are_allowed_when_they_are_given():
    hosts = Hosts([SHARE, SPACE, "Studio.example.org"])
    for name in ("abc.gradio.live", "ada-studio.hf.space", "studio.example.org:443"):
        assert hosts.allows(name) and not Hosts().allows(name)
    assert not hosts.allows("gradio.live.evil.example")


def test_an_origin_is_the_host_with_its_port():
    hosts = Hosts()
    assert hosts.is_same("http://127.0.0.1:7860", {"host": "127.0.0.1:7860"})
    assert hosts.is_same("https://a.example", {"host": "x", "x-forwarded-host": "a.example"})
    proxied = Hosts(["ada-studio.hf.space", SHARE])
    assert proxied.is_same("https://ada-studio.hf.space", {"host": "10.0.0.7:7860"})
    assert not proxied.is_same("https://evil.gradio.live", {"host": "10.0.0.7:7860"})
    for origin in ("http://127.0.0.1:9999", "http://evil.example", "null", ""):
        assert not hosts.is_same(origin, {"host": "127.0.0.1:7860"})


def test_only_the_site_of_spaces_may_embed_the_page_and_only_there():
    at_home, space = security_headers(), security_headers(SPACE_FRAMES)
    assert at_home["content-security-policy"].endswith("frame-ancestors 'self'")
    assert at_home["x-frame-options"] == "SAMEORIGIN" and "x-frame-options" not in space
    assert "'self' https://*.hf.space https://huggingface.co" in space["content-security-policy"]
