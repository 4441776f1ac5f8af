"""What pages of the admin say."""

from html import unescape


def text_of(response):
    """Return a page as it was sent."""
    assert response.status_code == 200
    return response.content.decode()


def unescaped_text_of(response):
    """Return a page with its character references resolved."""
    return unescape(text_of(response))
